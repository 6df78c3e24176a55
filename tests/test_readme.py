"""What the README prints works as printed."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service import background, health, keywatch, lifespan, revocations, sessions, tallies
from service.localdb import LocalDatabase, free_port
from service.queries import migrations
from service.ratelimits import RateLimits
from service.settings import KeySettings, Settings
from service.web import payload
from tests.data import a_copy
from tests.server import CLIENT_SECRET, ROOT, Server, untraced
from tests.test_contract import every_error
from tests.test_database_faults import as_root

README = (ROOT / "README.md").read_text()


def blocks(title: str) -> list[tuple[str, str]]:
    """The fenced blocks of a chapter: language and text."""
    chapter = README.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return re.findall(r"```(\w+)\n(.*?)```", chapter, re.DOTALL)


def test_the_endpoints_answer_what_is_printed(server: Server) -> None:
    httpx.post(f"{server.url}/auth/signup", json={"username": "somebody", "password": "somebody else"})
    script = "set -e\n"
    expected = []
    for language, text in blocks("Endpoints"):
        if language == "sh":
            script += text.replace("http://localhost:5000", server.url) + "echo\n"
        else:
            expected.append(text.strip())
    env = {**os.environ, "INTROSPECTION_SECRET": CLIENT_SECRET}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, check=True)
    answers = [line for line in done.stdout.splitlines() if line]
    assert len(answers) == len(expected) == 11
    for answer, printed in zip(answers, expected, strict=True):
        pattern = (
            re.escape(printed)
            .replace(":…", r":\d+")
            .replace("eyJ…", r"eyJ[\w-]+\.[\w-]+\.[\w-]+")
            .replace("…", '[^"]+')
        )
        assert re.fullmatch(pattern, answer), answer


@pytest.mark.parametrize(
    ("sentence", "found", "said"),
    [
        (
            "No question waits longer than ¼ s, or 25 turns of an event loop that is late",
            (tallies.TIMEOUT, tallies.SLICES),
            (0.25, 25),
        ),
        ("and one in a second tries it again", tallies.RETRY_INTERVAL, 1),
        ("a login that has waited a second for its turn", tallies.LONGEST_WAIT, 1),
        (
            "by each process about every five minutes, 500 rows at a time",
            (background.PURGE_INTERVAL, sessions.BATCH),
            (300, 500),
        ),
        ("look at the folder every 2 seconds", keywatch.POLL, 2),
        ("begins where the readings of 30 seconds ago ended", revocations.OVERLAP, 30),
        ("one to two lives of an access token (and a minute)", revocations.GRACE, 60),
        ("and one that says nothing by three seconds at most", lifespan.LONGEST_SILENCE, 3),
        ("failed, within a second", health.DEADLINE, 0.8),
        ("the body took longer than 5 s, has more than 16 KiB", (payload.BODY_TIMEOUT, payload.MAX_BODY), (5, 16384)),
    ],
)
def test_a_time_that_is_printed_is_that_of_the_code(sentence: str, found: object, said: object) -> None:
    assert sentence in " ".join(README.split())
    assert found == said


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What git would check out."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        (tmp_path / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "clone" / name)
    return tmp_path / "clone"


@pytest.fixture
def bare_mariadb(new_data: Path, tmp_path: Path) -> Iterator[LocalDatabase]:
    """A server as its administrator has it: without our database and account."""
    with a_copy(new_data, tmp_path / "mariadb") as mariadb:
        as_root(mariadb, "drop database auth", "drop user auth@127.0.0.1")
        yield mariadb


def test_running_it_by_hand_and_by_procfile_works_as_printed(clone: Path, bare_mariadb: LocalDatabase) -> None:
    found = blocks("Running it")
    [sql] = [text for language, text in found if language == "sql"]
    install, migrate, serve, rollback = [text for language, text in found if language == "sh"]
    as_root(bare_mariadb, *(statement for statement in sql.split(";") if statement.strip()))
    env = untraced(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_QUIET="1", PIP_NO_COMPILE="1")

    def run(script: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", script], cwd=clone, env=env, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(install)
    # The one edit that the page asks for, a port of this test's own, and no wait for a proxy at the stop.
    port = free_port()
    settings = (clone / ".env").read_text()
    settings = settings.replace(":3306/", f":{bare_mariadb.port}/").replace("PORT=5000", f"PORT={port}")
    (clone / ".env").write_text(settings + f"\nPORT={port}\nSHUTDOWN_DELAY=0\n")
    activate = ". venv/bin/activate\n"
    migrate = migrate.replace(":3306/", f":{bare_mariadb.port}/")
    run(activate + migrate)

    def signs_up(script: str) -> bool:
        service = subprocess.Popen(["bash", "-ec", f"{activate}{script}"], cwd=clone, env=env, start_new_session=True)
        try:
            transport = httpx.HTTPTransport(retries=8)
            with httpx.Client(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                answer = client.post("/auth/signup", json={"username": "by-hand", "password": "correct horse"})
                return answer.status_code == 200
        finally:
            subprocess.run(["pkill", "-TERM", "--session", str(service.pid)], check=True)
            service.wait(20)

    load, address, _ = migrate.splitlines(keepends=True)
    assert signs_up(load + "exec " + serve)
    run(activate + load + address + rollback)
    subprocess.run([*_venv_pip(clone), "honcho"], cwd=clone, env=env, check=True, capture_output=True)
    run(activate + address + "MIGRATIONS_URL=$MIGRATIONS_URL honcho start release")
    assert signs_up("exec honcho start web")


def _venv_pip(clone: Path) -> list[str]:
    return [str(clone / "venv" / "bin" / "pip"), "install", "--constraint", str(ROOT / ".ci" / "constraints.txt")]


def test_every_code_is_in_the_table_and_every_setting_in_the_sample() -> None:
    chapter = README.split("\n## Endpoints\n")[1].split("\n## ")[0]
    for kind in every_error():
        if not kind.__subclasses__() or kind.code == "unavailable":
            assert f"`{kind.code}`" in chapter, kind
    sample = set(re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    ours = {name for name in sample if not name.startswith("UVICORN_")}
    assert {name for name in ours if name.endswith("_FILE") and name.removesuffix("_FILE") not in ours} == set()
    chapter = README.split("\n### Configuration\n")[1].split("\n### ")[0]
    assert ours == set(re.findall(r"`([A-Z]+_[A-Z_]+)`", chapter)) - {"UVICORN_"}
    fields = {*Settings.__dataclass_fields__, *KeySettings.__dataclass_fields__, *RateLimits.__dataclass_fields__}
    assert {name.removesuffix("_FILE").lower() for name in ours} - fields == {"database_url"}


def test_the_tour_names_every_module_and_no_other() -> None:
    """Those of `cli` and `queries` are named for what they are about."""
    named = set(
        re.findall(r"`(?:service/)?(?:web/)?(\w+\.py)`", README.split("\n## A tour of the code\n")[1].split("\n## ")[0])
    )
    found = {path.name for folder in ("service", "service/web") for path in (ROOT / folder).glob("[!_]*.py")}
    assert named == found


def test_no_sentence_is_cut_off() -> None:
    """As a merge of two pages may do."""
    assert re.findall(r".*,\n(?=\n|- |\d+\. |#)", re.sub(r"```.*?```", "", README, flags=re.DOTALL)) == []


def test_the_migration_that_is_named_exists() -> None:
    assert migrations.REQUIRED[0] in README


def test_every_requirement_is_named_by_a_test() -> None:
    tests = "".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    rows = ",".join(re.findall(r"REQUIREMENTS ([\d, ]+)", tests))
    assert {int(number) for number in re.findall(r"\d+", rows)} == set(range(1, 67))
