"""The service as its operator runs it: a uvicorn process, found by its port."""

import asyncio
import base64
import json
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import pymysql

from bench.servers import environment
from service.address import DatabaseAddress
from service.keys import KeyRing, secret_key
from service.localdb import free_port
from service.tokens import Tokens

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
SECRET = "a-secret-for-tests-only-0123456789abcdef"
CLIENT_SECRET = "a-client-secret-for-tests-only.0123456789~_-"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # else httpx reads all authorities of the web for each client: 60 ms
KEPT = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2)  # uvicorn keeps them for 5 s
ISSUER = Tokens(KeyRing(secret_key(SECRET.encode())), access_lifetime=300)  # signs as a service of the tests does


def untraced(**changes: str) -> dict[str, str]:
    """The same for one whose part in the coverage is not asked for, and which is faster for it."""
    return {name: value for name, value in environment(**changes).items() if name != "COVERAGE_PROCESS_CONFIG"}


def migrate(url: str, *arguments: str, folder: Path = ROOT) -> None:
    """Applies the migrations in `sql/`, or does what `arguments` say, as the README tells an operator to."""
    command = [str(TOOLS / "yoyo"), *(arguments or ("apply",)), "--batch"]
    done = subprocess.run(
        command, cwd=folder, env=untraced(DATABASE_URL=url), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def cursor_on(url: str) -> Iterator[pymysql.cursors.Cursor]:
    """A cursor that commits each statement, on the database of a DATABASE_URL."""
    address = DatabaseAddress.from_url(url)
    where: dict[str, Any] = {"host": address.host, "port": address.port, "database": address.name}
    account: dict[str, Any] = {"user": address.user, "password": address.password}
    with (
        pymysql.connect(**where, **account, autocommit=True, charset="utf8mb4") as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    payload = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return found


def answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Waits until a service answers; False if its process ended instead."""
    deadline = time.monotonic() + 60
    with httpx.Client(verify=NO_TLS) as http:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                http.get(f"{url}/auth/verify")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return True
    return False


class Server:
    """A running service; its whole output is in `log`."""

    _environment = staticmethod(untraced)

    def __init__(self, database_url: str, folder: Path, *arguments: str, **settings: str) -> None:
        self.log = folder / "service.log"
        self._arguments = arguments
        self._settings = {"DATABASE_URL": database_url, "JWT_SECRET": SECRET, "INTROSPECTION_SECRET": CLIENT_SECRET}
        self._settings |= {"UVICORN_PROXY_HEADERS": "false", "UVICORN_HTTP": "service.protocol:HeadOnly"}
        self._settings |= {"BCRYPT_ROUNDS": "10", "SHUTDOWN_DELAY": "0", **settings}

    def __enter__(self) -> Self:
        for _ in range(5):
            self.port = free_port()
            self.url = f"http://127.0.0.1:{self.port}"
            command = [
                str(TOOLS / "uvicorn"),
                "--factory",
                "service.app:create_app",
                "--ws",
                "none",
                "--port",
                str(self.port),
            ]
            with self.log.open("a") as log:
                self.process = subprocess.Popen(
                    [*command, *self._arguments],
                    cwd=ROOT,
                    env=self._environment(**self._settings),
                    stdout=log,
                    stderr=log,
                )
            if answers(self.url, self.process):
                return self
        raise AssertionError(self.log.read_text())

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An HTTP client of it, over sockets."""
        options = {"limits": KEPT, **options}
        return httpx.AsyncClient(base_url=self.url, timeout=30, verify=NO_TLS, **options)

    async def logs(self, text: str, *, times: int = 1) -> None:
        """Waits until a text stands in the log, as many times as are asked for."""
        async with asyncio.timeout(20):
            while self.log.read_text().count(text) < times:
                await asyncio.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(number)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.wait()


class TracedServer(Server):
    """One of those few whose part in the coverage is asked for."""

    _environment = staticmethod(environment)
