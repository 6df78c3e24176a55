"""`make dev`, as far as it goes without make: the service with reload on a private MariaDB."""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import service.dev
from bench.servers import environment
from service.dev import _leave, _run
from service.localdb import STOPS, LocalDatabase, free_port
from tests.data import copy_data
from tests.server import ROOT, answers, migrate

CREDENTIALS = {"username": "developer", "password": "correct horse"}


class Dev:
    """`python -m service.dev` in a terminal of its own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://localhost:{port}"
        self._output = folder.with_suffix(".out")
        with self._output.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.dev", str(folder)],
                cwd=ROOT,
                env=environment(UVICORN_PORT=str(port), BCRYPT_ROUNDS="10", **settings),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_for_answer(self) -> None:
        assert answers(self.url, self.process), self.output

    def stop(self, number: int) -> int:
        """Ctrl-C and a closed terminal signal the whole process group; SIGTERM is for the one process."""
        if number != signal.SIGTERM:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def servers_in(folder: Path) -> list[str]:
    """The processes that run on this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"--datadir={folder}" in command:
            found.append(command)
    return found


def test_users_and_secret_stay_between_runs_and_nothing_is_left_running(tmp_path: Path) -> None:
    """However a run is ended."""
    folder = tmp_path / "dev"
    first = Dev(folder)
    first.wait_for_answer()
    assert len(servers_in(folder)) == 1
    # The curl line that was printed works as printed.
    line = next(line for line in first.output.splitlines() if "curl" in line)
    printed = shlex.split(line.split("Try", 1)[1])
    done = subprocess.run([*printed, "--silent"], capture_output=True, text=True, check=True)
    assert done.stdout == '{"success":true,"message":"User registered successfully"}'
    assert f"{first.url}/auth" in first.output
    assert re.search(r"file://\S+/tests/demo\.html", first.output)
    login = httpx.post(f"{first.url}/auth/login", json={"username": "ada", "password": "correct horse"})
    assert first.stop(signal.SIGINT) == 0, first.output
    assert "Traceback" not in first.output
    assert servers_in(folder) == []

    token = login.json()["refreshToken"]
    for number in (signal.SIGTERM, signal.SIGHUP):
        later = Dev(folder)
        later.wait_for_answer()
        renewed = httpx.post(f"{later.url}/auth/refresh", json={"refreshToken": token})
        assert renewed.status_code == 200, "the same secret, the same sessions"
        token = renewed.json()["refreshToken"]
        assert later.stop(number) == 0, later.output
        assert "Traceback" not in later.output
        assert servers_in(folder) == []
    assert (folder / "jwt-secret").stat().st_mode & 0o077 == 0
    assert len((folder / "jwt-secret").read_text()) == 64


@pytest.mark.parametrize("tenths", range(4))
def test_a_stop_while_the_database_starts_leaves_nothing_running(tmp_path: Path, new_data: Path, tenths: int) -> None:
    copy_data(new_data, tmp_path / "dev" / "mariadb")
    dev = Dev(tmp_path / "dev")
    while not servers_in(tmp_path / "dev"):
        assert dev.process.poll() is None
        time.sleep(0.01)
    time.sleep(tenths / 10)
    assert dev.stop(signal.SIGTERM) == 0
    assert servers_in(tmp_path / "dev") == []


@pytest.fixture
def own_signals() -> Iterator[None]:
    """What the test does with the signals that stop `make dev` is undone."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_stop_at_the_moment_the_service_is_started_ends_it(interrupted_start: list[int]) -> None:
    try:
        code = _run(["sleep", "60"], {})
    except KeyboardInterrupt:
        pytest.fail("it leaves the service behind")
    assert code == 128 + signal.SIGTERM
    [pid] = interrupted_start
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.usefixtures("own_signals")
def test_a_service_that_hears_no_stop_is_ended_with_all_that_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As uvicorn's reloader when what watches the files has died."""
    monkeypatch.setattr(service.dev, "_STOP_TIMEOUT", 1)
    below = tmp_path / "pid"

    def stop_once_it_runs() -> None:
        while not (below.exists() and below.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    stopping = threading.Thread(target=stop_once_it_runs)
    stopping.start()
    code = _run(["sh", "-c", f"trap '' TERM; sleep 60 & echo $! > {below}; wait; wait"], {"PATH": os.environ["PATH"]})
    stopping.join()
    assert code == 128 + signal.SIGKILL
    deadline = time.monotonic() + 20
    while "sleep" in command_of(int(below.read_text())):
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"DATABASE_URL": "postgres://x"}, "DATABASE_URL must begin with mysql://"),
        ({"DATABASE_URL_FILE": "/run/secrets/url"}, "make dev takes DATABASE_URL and no DATABASE_URL_FILE"),
        ({"DATABASE_URL": "mysql://x:y@localhost/z", "MAX_SESSIONS": "0"}, "MAX_SESSIONS must be"),
        ({"DATABASE_URL": "mysql://x:y@localhost/z", "JWT_SECRET_FILE": "/nowhere"}, "JWT_SECRET_FILE must name"),
    ],
    ids=["scheme", "file", "setting", "secret"],
)
def test_a_setting_that_is_unusable_is_named_before_anything_starts(
    tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    run = Dev(tmp_path / "dev", **settings)
    assert run.process.wait(20) in {1, 2}
    assert said in run.output
    assert run.output.count("\n") <= 2, "that, and that the database is away"
    assert "API" not in run.output


@pytest.mark.usefixtures("own_signals")
def test_a_second_stop_does_not_cut_the_first_one_off() -> None:
    with pytest.raises(SystemExit):
        _leave(signal.SIGHUP, None)
    for number in STOPS:
        signal.raise_signal(number)


def test_an_empty_variable_counts_as_none(new_data: Path, tmp_path: Path) -> None:
    copy_data(new_data, tmp_path / "dev" / "mariadb")
    dev = Dev(tmp_path / "dev", DATABASE_URL="", JWT_SECRET="")
    dev.wait_for_answer()
    assert dev.stop(signal.SIGINT) == 0


def test_a_given_database_is_used_and_none_is_started(tmp_path: Path, own_mariadb: LocalDatabase) -> None:
    migrate(own_mariadb.url, "rollback", "--all")
    dev = Dev(tmp_path / "dev", DATABASE_URL=own_mariadb.url)
    dev.wait_for_answer()
    assert httpx.post(f"{dev.url}/auth/signup", json=CREDENTIALS).status_code == 200
    assert not (tmp_path / "dev" / "mariadb").exists()
    assert dev.stop(signal.SIGINT) == 0


def test_what_cannot_be_had_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "mariadb").write_text("in the way")
    dev = Dev(tmp_path / "dev", PATH=str(tmp_path))
    assert dev.process.wait(20) == 1
    assert dev.output.count("\n") == 1, dev.output


def test_a_database_that_cannot_be_reached_is_named_last(tmp_path: Path) -> None:
    """After what yoyo says of it."""
    dev = Dev(tmp_path / "dev", DATABASE_URL=f"mysql://auth:x@127.0.0.1:{free_port()}/auth")
    assert dev.process.wait(20) == 1
    assert dev.output.splitlines()[-1].startswith("DATABASE_URL: Can't connect to MySQL server on '127.0.0.1'")
