"""A private MariaDB server in a folder, for development, tests and bench; never for production."""

import fcntl
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SEARCH_PATH = os.pathsep.join([os.defpath, "/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"])
_START_TIMEOUT = 30  # seconds
_STOP_TIMEOUT = 20
MISSING = "MariaDB is not installed: apt install mariadb-server (Debian, Ubuntu), brew install mariadb (macOS)"
# Small, and no slower to commit than a server in production that survives a power cut need be.
_OPTIONS = (
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--performance-schema=off",
    "--innodb-buffer-pool-size=128M",
    "--innodb-flush-log-at-trx-commit=2",
    "--max-connections=300",
)


class LocalDatabaseError(Exception):
    """The private server can't be had; the text is a sentence for the one at the terminal."""


class LocalDatabase:
    """A server on a loopback port and a unix socket, with a database `auth` and an account that owns it."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self._data = folder / "data"
        self._log = folder / "mariadb.log"
        self._options = options
        # Not in the folder: a socket's path has at most about 100 characters.
        self._runtime = Path(tempfile.mkdtemp(prefix="mstack-auth-"))
        self.socket = self._runtime / "mariadb.sock"
        self._password = secrets.token_hex(16)
        self.port = 0

    @property
    def url(self) -> str:
        """As DATABASE_URL takes it."""
        return f"mysql://auth:{self._password}@127.0.0.1:{self.port}/auth"

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def start(self) -> None:
        """Starts the server, the next times on the same port. Raises LocalDatabaseError."""
        if not self._data.exists():
            self._install()
        init = self._runtime / "init.sql"
        init.touch(mode=0o600)
        init.write_text(
            "create database if not exists auth;\n"
            f"create or replace user auth@127.0.0.1 identified by '{self._password}';\n"
            "grant all on auth.* to auth@127.0.0.1;\n"
        )
        for _ in range(5):
            port = self.port or _free_port()
            # Its own session: Ctrl-C at the terminal is for the service, which needs its database until the end.
            self._process = subprocess.Popen(
                [
                    _program("mariadbd", "mysqld"), "--no-defaults", f"--user={getpass.getuser()}",
                    f"--datadir={self._data}", f"--socket={self.socket}", f"--port={port}", f"--init-file={init}",
                    f"--pid-file={self._runtime / 'mariadb.pid'}", f"--log-error={self._log}",
                    f"--tmpdir={self._runtime}", *_OPTIONS,
                    *self._options,
                ],
                start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if self._answers(port):
                self.port = port
                return
            self.stop()  # somebody else took the port first
        raise LocalDatabaseError(f"the private MariaDB does not start; {self._log} says why")

    def kill(self) -> None:
        """Ends the server as a power cut would."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends the server cleanly."""
        if self._process.poll() is None:
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

    def _install(self) -> None:
        unfinished = self._data.with_name("data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        done = subprocess.run(
            [
                _program("mariadb-install-db", "mysql_install_db"), "--no-defaults", f"--datadir={unfinished}",
                f"--user={getpass.getuser()}", f"--tmpdir={self._runtime}", "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={getpass.getuser()}", "--skip-test-db",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise LocalDatabaseError(f"the private MariaDB cannot be set up: {done.stdout[-500:]}{done.stderr[-500:]}")
        unfinished.rename(self._data)

    def _answers(self, port: int) -> bool:
        """Waits for the server's greeting, which comes only when its init file was carried out."""
        deadline = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                    if connection.recv(1):
                        return self._process.poll() is None
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


def _program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name) or shutil.which(name, path=_SEARCH_PATH):
            return found
    raise LocalDatabaseError(MISSING)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
