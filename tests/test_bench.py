"""That the bench runs, counts and ends; how fast anything is, no test says."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from bench import seed, servers
from bench.plan import BOTH
from service.address import DatabaseAddress
from service.localdb import LocalDatabase
from service.settings import KeySettings
from tests.conftest import StartClient
from tests.server import ISSUER, NO_TLS, ROOT, SECRET, Server, untraced
from tests.test_verify import bearer

BENCH = [sys.executable, "-m", "bench"]


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A run to its end."""
    return subprocess.run(
        [*BENCH, *arguments], cwd=ROOT, env=untraced(), capture_output=True, text=True, timeout=240, check=False
    )


def per_second(name: str, table: str) -> float:
    """What stands in the table's only line of that name."""
    [line] = [line for line in table.splitlines() if line.startswith(name)]
    return float(line.removeprefix(name).split("/s")[0].split()[-1])


def test_a_quick_run_measures_everything_and_nothing_is_refused(tmp_path: Path) -> None:
    done = bench("--quick", "--into", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("verify, distinct", "verify, one", "refresh, staying ", "refresh, rotating ", "login, 8", "signup, 8"):
        assert per_second(name, done.stdout) > 0
    assert "Traceback" not in done.stderr
    kept = json.loads((tmp_path / "results.json").read_text())
    assert {"commit", "dirty", "cpu", "cores", "versions"} <= kept["machine"].keys()
    assert {"python", "mariadb", "wrk", "uvicorn"} <= {
        name for name, found in kept["machine"]["versions"].items() if found
    }
    assert [row["name"] for row in kept["table"]] == list(dict.fromkeys(figure["name"] for figure in kept["rounds"]))
    assert {path.name for path in (tmp_path / "pictures").iterdir()} >= {"limits.svg", "latency.svg"}


def test_a_running_service_is_loaded_without_limits_and_targets(server: Server) -> None:
    done = bench("--quick", "--target", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("verify, distinct", "verify, one", "refresh, staying ", "refresh, rotating ", "login, 8"):
        assert per_second(name, done.stdout) > 0
    assert "ratio" not in done.stdout
    assert "target" not in done.stdout


def test_what_the_shell_sets_changes_no_service_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not for uvicorn and the metrics, and no proxy: a run after `. ./.env` measures what all others do."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    foreign = {"LOG_LEVEL": "nonsense", "JWT_ISSUER": "somebody", "WEB_CONCURRENCY": "2", "UVICORN_WORKERS": "2"}
    for name, value in {**foreign, "PROMETHEUS_MULTIPROC_DIR": "/nowhere", "METRICS_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    settings = {"DATABASE_URL": "mysql://nobody@127.0.0.1:1/nothing", "JWT_SECRET": SECRET}
    with servers.Server(servers.SERVICE, BOTH, settings) as started:
        token = ISSUER.issue_access(user_id="1", username="grace", session_id="2", now=int(time.time()))
        answer = httpx.get(f"{started.url}/auth/verify", headers={"Authorization": f"Bearer {token}"}, verify=NO_TLS)
        children = Path(f"/proc/{started.process.pid}/task/{started.process.pid}/children").read_text()
    assert (answer.status_code, children) == (200, "")


@pytest.mark.parametrize("option", ["--target", "--against"])
def test_another_machine_is_left_alone(option: str) -> None:
    done = bench("--quick", option, "http://192.0.2.1:5000")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "bench: 192.0.2.1 is not this machine; --allow-remote loads it all the same\n"


def test_a_folder_that_cannot_be_made_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = bench("--into", str(tmp_path / "file" / "results"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"argument --into: {tmp_path}/file/results: Not a directory\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupt_or_a_closed_terminal_ends_everything_that_was_started(
    tmp_path: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [*BENCH, "--quick", "--only", "isolation"],
        cwd=ROOT,
        env=untraced(TMPDIR=str(tmp_path)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stderr
        while "round 1" not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(number)
        assert "Traceback" not in running.stderr.read()
        assert running.wait(30) == 128 + number
    with_environments = subprocess.run(["ps", "axeww"], capture_output=True, text=True, check=True).stdout
    assert f"TMPDIR={tmp_path}" not in with_environments
    assert not list(tmp_path.iterdir())


async def test_the_tokens_of_a_run_are_good_for_half_a_day(
    own_mariadb: LocalDatabase, start: StartClient, tmp_path: Path
) -> None:
    """All of `python -m bench` takes most of an hour, and it counts what is no 200 as a mistake of its own."""
    seed.seed(own_mariadb.url, tmp_path, users=1, sessions=1, rounds=4)
    [access], [refreshing] = ((tmp_path / name).read_text().split() for name in ("access", "refresh"))
    database, keys = DatabaseAddress.from_url(own_mariadb.url), KeySettings(jwt_secret=seed.SECRET.encode())
    now = [time.time()]
    async with start(clock=lambda: now[0], database=database, keys=keys) as client:
        for _ in range(2):
            assert (await client.get("/auth/verify", headers=bearer(access))).status_code == 200
            assert (await client.post("/auth/refresh", json={"refreshToken": refreshing})).status_code == 200
            now[0] += 12 * 3600
