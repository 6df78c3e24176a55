# make dev: the service with reload on a private MariaDB.  make test: every check.  make bench: every number.
# make faults, make soak, make cluster: what is lost when something breaks, in half an hour of that, and on three nodes.
PYTHON ?= python3
export PYTHON
# Each run here starts the same modules hundreds of times; where compiling is forbidden, each start compiles them again.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint .ci/constraints.txt
.PHONY: dev test bench faults soak cluster

dev: .venv/installed
	@$(if $(DATABASE_URL),,.ci/provision mariadb)
	@exec $(BIN)/python -m service.dev

test: .venv/installed .venv/node/jose-5.10.0
	@.ci/provision mariadb chromium wrk promtool redis nginx caddy haproxy systemd dump
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 3 --dist worksteal
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=95

bench: .venv/installed
	@.ci/provision mariadb wrk
	$(BIN)/python -m bench

faults: .venv/installed
	@.ci/provision mariadb faketime
	$(BIN)/python -m bench.faults

soak: .venv/installed
	@.ci/provision mariadb
	$(BIN)/python -m bench.faults.soak

cluster: .venv/installed
	@.ci/provision mariadb wrk haproxy galera
	$(BIN)/python -m bench.cluster

.venv/installed: pyproject.toml .ci/constraints.txt
	@.ci/provision venv
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip
	$(PIP) --editable '.[dev]'
	@touch $@

# The other client of our keys that the tests try; nothing of it is shipped. jose 5 is the last for Node 18, Debian 12's.
.venv/node/jose-5.10.0: | .venv/installed
	@.ci/provision node
	@mkdir -p $(@D)
	npm install --silent --no-save --no-package-lock --no-audit --no-fund --prefix $(@D) $(subst -,@,$(@F))
	@touch $@
