"""The servers of a run: each a uvicorn process on the cores it is given."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
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


def migrate(url: str) -> None:
    """Brings the schema of the database at `url` up to date. Raises CalledProcessError."""
    yoyo = Path(sys.executable).with_name("yoyo")
    subprocess.run([yoyo, "apply", "--batch"], cwd=ROOT, env={**os.environ, "DATABASE_URL": url}, check=True)


class Server:
    """Runs a factory of an application until the end of the `with`; `options` are uvicorn's."""

    def __init__(self, factory: str, cores: set[int], settings: dict[str, str], *options: str) -> None:
        self._factory = factory
        self._cores = cores
        self._settings = {"SHUTDOWN_DELAY": "0", **settings}
        self._options = (*AT_THE_END, *options)

    def __enter__(self) -> Self:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "uvicorn", "--factory", self._factory, "--port", str(port), "--no-access-log"]
        command += ["--no-proxy-headers", *self._options]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **self._settings},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that _kill reaches its workers too
        )
        with ExitStack() as unless_it_starts:
            unless_it_starts.callback(self._kill)
            os.sched_setaffinity(self.process.pid, self._cores)
            if not self._answers():
                raise RuntimeError(f"{self._factory} does not start")
            unless_it_starts.pop_all()
        return self

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
            except OSError:
                time.sleep(0.02)
            else:
                return True
        return False
