"""The servers of a run: each a uvicorn process on the cores it is given."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Self
from urllib.error import HTTPError
from urllib.request import urlopen

from service.localdb import free_port

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "service.app:create_app"
REFERENCE = "bench.reference:create_app"
BARE = "bench.bare:create_app"
# Nobody waits any more for the hashes of a load that is over: 64 of them would take seconds.
AT_THE_END = ("--timeout-graceful-shutdown", "1")
# What uvicorn and the metrics read of the environment by themselves, beside UVICORN_… and what .env.example names.
READ_BY_OTHERS = {"PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "PROMETHEUS_MULTIPROC_DIR"}


def environment(**changes: str) -> dict[str, str]:
    """The environment of a child process: ours without what configures a service, with `changes`."""
    sample = (ROOT / ".env.example").read_text().splitlines()
    settings = READ_BY_OTHERS | {line.partition("=")[0] for line in sample if not line.startswith("#")}
    kept = {name: text for name, text in os.environ.items() if name not in settings}
    return {name: text for name, text in kept.items() if not name.startswith("UVICORN_")} | changes


def migrate(url: str) -> None:
    """Brings the schema of the database at `url` up to date. Raises CalledProcessError."""
    yoyo(url, "apply")


def yoyo(url: str, command: str, *arguments: str) -> None:
    """Does with the migrations what the command says. Raises CalledProcessError."""
    program = Path(sys.executable).with_name("yoyo")
    subprocess.run([program, command, "--batch", *arguments], cwd=ROOT, env=environment(DATABASE_URL=url), check=True)


class Server:
    """Runs a factory of an application until the end of the `with`; `options` are uvicorn's.

    On a free port, unless one is named; what it writes is thrown away, unless there is a `log`, which it goes on.
    """

    def __init__(
        self,
        factory: str,
        cores: set[int],
        settings: dict[str, str],
        *options: str,
        port: int | None = None,
        log: Path = Path(os.devnull),
    ) -> None:
        self._factory = factory
        self._cores = cores
        self._settings = {"SHUTDOWN_DELAY": "0", **settings}
        if settings.get("METRICS_PORT", "0") != "0":
            self._settings["METRICS_PORT"] = str(free_port())  # several servers, and each needs one
        self._options = (*AT_THE_END, *options)
        self._port = port
        self._log = log

    def __enter__(self) -> Self:
        for _ in range(5):
            port = self._port or free_port()
            self.url = f"http://127.0.0.1:{port}"
            if self._starts(port):
                return self
        raise RuntimeError(f"{self._factory} does not start")

    def _starts(self, port: int) -> bool:
        """False where it ends by itself: most likely somebody took the port first."""
        command = [sys.executable, "-m", "uvicorn", "--factory", self._factory, "--port", str(port), "--no-access-log"]
        command += ["--no-proxy-headers", "--http", "service.protocol:HeadOnly", *self._options]
        with self._log.open("a") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(**self._settings),
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that _kill reaches its workers too
            )
        with ExitStack() as unless_it_starts:
            unless_it_starts.callback(self._kill)
            os.sched_setaffinity(self.process.pid, self._cores)
            if self._answers():
                unless_it_starts.pop_all()
                return True
        return False

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:  # nobody is interested in its last answers
            self._kill()
        self.process.terminate()
        self.process.wait(30)

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _answers(self) -> bool:
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                urlopen(f"{self.url}/auth/verify").close()  # noqa: S310  # our own address
            except HTTPError:  # it answers, and refuses
                return True
            except (OSError, HTTPException):  # nobody yet, or somebody else
                time.sleep(0.02)
            else:
                return True
        return False
