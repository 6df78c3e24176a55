"""One private MariaDB and one service process a worker of the run; tests take names of their own and share both."""

import itertools
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import bcrypt
import coverage
import httpx
import pymysql
import pytest
from starlette.types import Receive, Scope, Send
from uuid_utils.compat import uuid7

from service.address import DatabaseAddress
from service.app import create_app
from service.localdb import LocalDatabase, local_database
from service.settings import KeySettings, Settings
from tests.conformance import conforms
from tests.data import a_copy
from tests.server import SECRET, Server, TracedServer, cursor_on, migrate

_numbers = itertools.count()
PASSWORD = "correct horse battery"
CHEAP_HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
# What these alone reach is to be seen in the coverage, which takes a service as long again.
TRACED = {f"tests.test_{name}" for name in ("framing", "hostile_input", "introspection", "revoke", "sessions")}
StartClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Runs the hundreds of examples of a test without coverage, whose tracing takes as long again on Python 3.11."""
    traced = coverage.Coverage.current()
    if traced is None or not {"hypothesis", "repeated"} & {mark.name for mark in item.iter_markers()}:
        return (yield)
    traced.stop()
    try:
        return (yield)
    finally:
        traced.start()


@pytest.fixture
def interrupted_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Ctrl-C comes each time at the moment when a process is started; the ids of those that were."""
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    yield started
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def new_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server that has ended, with the schema applied and nothing else."""
    folder = tmp_path_factory.mktemp("new")
    with local_database(folder) as database:
        migrate(database.url)
    return folder


@pytest.fixture(scope="session")
def mariadb(new_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalDatabase]:
    """A server with the schema applied, for all tests that leave it alive."""
    with a_copy(new_data, tmp_path_factory.mktemp("mariadb")) as database:
        yield database


@pytest.fixture
def own_mariadb(new_data: Path, tmp_path: Path) -> Iterator[LocalDatabase]:
    """A server with the schema applied, for one test to stop, kill and stall."""
    with a_copy(new_data, tmp_path / "mariadb") as database:
        yield database
        database.kill()  # nobody reads the data any more


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest) -> Server:
    """The service in a process of its own, on a port of its own, which all tests share."""
    running: Server = request.getfixturevalue("traced_server" if request.module.__name__ in TRACED else "fast_server")
    return running


@pytest.fixture(scope="session")
def fast_server(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(mariadb.url, tmp_path_factory.mktemp("server")) as running:
        yield running
    assert_undisturbed(running)


@pytest.fixture(scope="session")
def traced_server(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with TracedServer(mariadb.url, tmp_path_factory.mktemp("traced")) as running:
        yield running
    assert_undisturbed(running)


def assert_undisturbed(server: Server) -> None:
    log = server.log.read_text()
    for word in ("Traceback", "unhandled_error", "exc_info", '"status":500', "Exception"):
        assert word not in log, "REQUIREMENTS 62, after all that was sent to it"


@pytest.fixture
async def client(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the service process, over a socket."""
    async with server.client(event_hooks={"response": [conforms]}) as http:
        yield http


@pytest.fixture
def sql(mariadb: LocalDatabase) -> Iterator[pymysql.cursors.Cursor]:
    """A cursor on the database of all tests."""
    with cursor_on(mariadb.url) as cursor:
        yield cursor


@pytest.fixture
def settings(mariadb: LocalDatabase) -> Settings:
    """Settings with cheap hashing, for a service inside the test."""
    return Settings(
        database=DatabaseAddress.from_url(mariadb.url), keys=KeySettings(jwt_secret=SECRET.encode()), bcrypt_rounds=4
    )


@pytest.fixture
def start(settings: Settings) -> StartClient:
    """Starts a service inside the test, with the settings and the clock as named, and gives a client of it."""

    @asynccontextmanager
    async def start_client(clock: Callable[[], float] = time.time, **changes: Any) -> AsyncIterator[httpx.AsyncClient]:
        app = create_app(replace(settings, **changes), clock)
        async with app.router.lifespan_context(app) as parts:

            async def with_state(scope: Scope, receive: Receive, send: Send) -> None:  # as uvicorn does
                await app({**scope, "state": parts}, receive, send)

            transport = httpx.ASGITransport(with_state)
            hooks = {"response": [conforms]}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://service", timeout=30, event_hooks=hooks
            ) as http:
                yield http

    return start_client


@pytest.fixture
def new_name() -> Callable[[], str]:
    """Names that nobody else in this run takes."""
    return lambda: f"user-{next(_numbers)}"


def add_user(sql: pymysql.cursors.Cursor, name: str, password_hash: str = CHEAP_HASH) -> str:
    """Puts a user into the database whose name is in lower case; gives the name."""
    columns = "id, username, username_key, password_hash, created_at"
    values = (str(uuid7()), name, name, password_hash)
    sql.execute(f"insert into users ({columns}) values (%s, %s, %s, %s, utc_timestamp())", values)
    return name


@pytest.fixture(scope="session")
def password_hash() -> str:
    """PASSWORD's, as the service process would make it."""
    return bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()


@pytest.fixture
def new_user(sql: pymysql.cursors.Cursor, password_hash: str, new_name: Callable[[], str]) -> Callable[[], str]:
    """Names of users whose password is PASSWORD, as if they had signed up."""
    return lambda: add_user(sql, new_name(), password_hash)


@pytest.fixture
def name(new_user: Callable[[], str]) -> str:
    """The name of such a user."""
    return new_user()


@pytest.fixture
async def tokens(client: httpx.AsyncClient, name: str) -> dict[str, str]:
    """What `name` got from a login: token and refreshToken."""
    answer = await client.post("/auth/login", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    found: dict[str, str] = answer.json()
    return found
