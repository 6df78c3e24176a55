"""A private MariaDB server in a folder, for development, tests and bench; never for production."""

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from service import mariadb
from service.mariadb import LocalDatabaseError

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # Ctrl-C, a supervisor, a closed terminal
_START_TIMEOUT = 30  # seconds
_STOP_TIMEOUT = 20
# Small; what is committed survives the death of the server, not of the machine.
_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--performance-schema=off",
    "--innodb-buffer-pool-size=128M",
    "--innodb-flush-log-at-trx-commit=2",
    "--max-connections=300",
)


class LocalDatabase:
    """A server on a loopback port and a unix socket, with a database `auth` and an account that owns it."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self._data = folder / "data"
        self._log = folder / "mariadb.log"
        self.options = options  # mariadbd's, at its next start
        # Not in the folder: a socket's path has at most about 100 characters.
        self._runtime = Path(tempfile.mkdtemp(prefix="mstack-auth-"))
        self._pid_file = folder / "mariadb.pid"
        self.socket = self._runtime / "mariadb.sock"
        self._password = secrets.token_hex(16)
        self.port = self.pid = 0

    @property
    def url(self) -> str:
        """As DATABASE_URL takes it."""
        return f"mysql://auth:{self._password}@127.0.0.1:{self.port}/auth"

    def start(self) -> None:
        """Starts the server, the next times on the same port. Raises LocalDatabaseError."""
        self._end_orphan()
        if not self._data.exists():
            mariadb.install(self._data, self._runtime)
        init = self._runtime / "init.sql"
        init.touch(mode=0o600)
        init.write_text(
            "create database if not exists auth;\n"
            f"create or replace user auth@127.0.0.1 identified by '{self._password}';\n"
            "grant all on auth.* to auth@127.0.0.1;\n"
        )
        self._is_up = False
        for _ in range(5):
            port = self.port or free_port()
            self._launch(port, init)
            self._is_up = self._answers()
            if self._is_up:
                self.port = port
                return
            if self._process.poll() is None:  # else it ended by itself: most likely somebody took the port first
                break
        raise LocalDatabaseError(f"the private MariaDB does not start; {self._log} says why")

    def _launch(self, port: int, init: Path) -> None:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        try:
            # A stop of this thread, the only one of `make dev`, waits until the process is known, which has to be ended
            # then. The server inherits this mask, and sets its own as it starts.
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            # Its own session: Ctrl-C at the terminal is for the service, which needs its database until the end.
            self._process = subprocess.Popen(
                [
                    mariadb.program("mariadbd", "mysqld"), "--no-defaults", *mariadb.as_root(),
                    f"--datadir={self._data}", f"--socket={self.socket}", f"--port={port}", f"--init-file={init}",
                    f"--pid-file={self._pid_file}", f"--log-error={self._log}",
                    f"--tmpdir={self._runtime}", *_OPTIONS, *self.options,
                ],
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            self.pid = self._process.pid
            self._pid_file.write_text(str(self.pid))  # as the server does, but only once it is up
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def kill(self) -> None:
        """Ends the server without a word, as kill -9 does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends the server cleanly."""
        if not self._is_up:  # one that is starting has nothing to lose, and MariaDB 10.11 may hang at a SIGTERM then
            self.kill()
        elif self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        """Ends the server and forgets its socket; the data stay."""
        if hasattr(self, "_process"):
            self.stop()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def _end_orphan(self) -> None:
        """A server whose owner was killed still holds the data."""
        with suppress(OSError, ValueError):
            pid = int(self._pid_file.read_text())
            for number in (signal.SIGTERM, signal.SIGKILL):
                deadline = time.monotonic() + _STOP_TIMEOUT
                if mariadb.serves(pid, self._data):
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, number)
                while mariadb.serves(pid, self._data) and time.monotonic() < deadline:
                    time.sleep(0.05)

    def _answers(self) -> bool:
        """Waits for the server's greeting, which comes only when its init file was carried out."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.settimeout(1)
                    connection.connect(str(self.socket))
                    if connection.recv(1):
                        return True
            except OSError:
                time.sleep(0.05)
        return False


@contextmanager
def local_database(folder: Path, *options: str) -> Iterator[LocalDatabase]:
    """Runs a private server whose data stay in `folder`; `options` are mariadbd's. Raises LocalDatabaseError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalDatabaseError(f"another process uses the private MariaDB in {folder}") from None
        database = LocalDatabase(folder.resolve(), options)
        try:
            database.start()
            yield database
        finally:
            database.close()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
