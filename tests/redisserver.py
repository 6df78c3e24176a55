"""A private Redis, to be killed, started again and stopped in its tracks."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Self

from service.localdb import free_port


class Redis:
    """A redis-server on a port of its own that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Returns when it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while self.ask("ping") != "PONG":
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            time.sleep(0.02)

    def ask(self, *command: str) -> str:
        """What redis-cli prints."""
        asked = ["redis-cli", "-p", str(self.port), *command]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20, check=False).stdout.strip()

    def kill(self) -> None:
        """Kills it, and what it knew is lost."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """It accepts connections from now on, and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)
