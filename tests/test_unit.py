"""The systemd unit of `service/deploy`, as far as it can be tried without systemd as the first process."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from service.background import STARTUP_FAILURE
from service.localdb import LocalDatabase, free_port
from tests.conftest import PASSWORD
from tests.gateways import DEPLOY
from tests.server import SECRET, TOOLS, answers, untraced

UNIT = "mstack-auth.service"
# As MemoryDenyWriteExecute and NoNewPrivileges have it; kernels before 6.3 do not know the first (PR_SET_MDWE).
CONFINED = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.prctl(65, 1, 0, 0, 0)
assert libc.prctl(38, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def values(name: str) -> list[str]:
    """Of a directive, in its order."""
    return re.findall(rf"^{name}=(.*)$", (DEPLOY / UNIT).read_text(), re.MULTILINE)


def command() -> list[str]:
    [line] = values("ExecStart")
    program, *arguments = shlex.split(line)
    assert Path(program).is_absolute()
    return [str(TOOLS / Path(program).name), *arguments]


def configured(folder: Path, port: int) -> dict[str, str]:
    """What the unit puts into the environment, with folders of the test's own, another port, and a stop at once."""
    pairs = [pair.split("=", 1) for line in values("Environment") for pair in shlex.split(line)]
    found = {name: value.replace("%d", str(folder)).replace("%t", str(folder)) for name, value in pairs}
    assert found["UVICORN_PORT"] == "5000"
    return untraced(**{**found, "UVICORN_PORT": str(port), "BCRYPT_ROUNDS": "10", "SHUTDOWN_DELAY": "0"})


@pytest.fixture
def credentials(mariadb: LocalDatabase, tmp_path: Path) -> Path:
    """A folder as systemd makes it of LoadCredential."""
    contents = {"database-url": mariadb.url, "jwt-secret": SECRET}
    assert [line.split(":")[0] for line in values("LoadCredential")] == list(contents)
    for name, text in contents.items():
        (tmp_path / name).write_text(text + "\n")
    (tmp_path / "mstack-auth").mkdir()  # RuntimeDirectory
    return tmp_path


def test_the_unit_is_sound_and_hardened(tmp_path: Path) -> None:
    """By systemd's own word: nothing that it does not know, and an exposure of 2 of 10 at most."""
    text = (DEPLOY / UNIT).read_text()
    [line] = values("ExecStart")
    (tmp_path / UNIT).write_text(text.replace(line, " ".join(command())))
    for arguments in (["verify"], ["security", "--offline=true", "--threshold=20"]):
        done = subprocess.run(
            ["systemd-analyze", *arguments, f"./{UNIT}"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert UNIT not in done.stderr, done.stderr


def test_the_service_runs_and_stops_as_the_unit_has_it(
    credentials: Path, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 6: the secrets are in files only. It hashes and signs in memory that can't become code."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    confined = [sys.executable, "-c", CONFINED, *command()]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(confined, cwd="/", env=configured(credentials, port), stdout=log, stderr=log)
    try:
        assert answers(url, process), (tmp_path / "log").read_text()
        user = {"username": new_name(), "password": PASSWORD}
        assert httpx.post(f"{url}/auth/signup", json=user, timeout=20).status_code == 200
        login = httpx.post(f"{url}/auth/login", json=user, timeout=20)
        verified = httpx.get(f"{url}/auth/verify", headers={"Authorization": f"Bearer {login.json()['token']}"})
        assert verified.status_code == 200
        assert "server" not in verified.headers
        process.send_signal(signal.SIGTERM)
        [seconds] = values("TimeoutStopSec")
        assert process.wait(int(seconds)) == 0
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_service_that_can_not_start_says_why_and_is_tried_again(credentials: Path) -> None:
    """Its exit code is that of a port that is taken, so to give up would be an outage for want of a second."""
    (credentials / "jwt-secret").write_text("short")
    done = subprocess.run(
        command(), cwd="/", env=configured(credentials, free_port()), capture_output=True, text=True, check=False
    )
    assert done.returncode == STARTUP_FAILURE
    assert values("Restart") == ["always"], "of several workers the exit code is 0"
    assert values("RestartPreventExitStatus") == values("StartLimitBurst") == []
    [seconds] = values("RestartSec")
    assert int(seconds) > 10 / 5, "systemd gives up after 5 starts in 10 seconds"
    assert done.stderr == "mstack-auth: JWT_SECRET must be 32 bytes at least; it has 5\n"


def test_a_stop_leaves_time_for_the_requests_and_for_the_goodbye() -> None:
    [patience] = re.findall(r"UVICORN_TIMEOUT_GRACEFUL_SHUTDOWN=(\d+)", " ".join(values("Environment")))
    [seconds] = values("TimeoutStopSec")
    assert int(seconds) > int(patience) + 2
