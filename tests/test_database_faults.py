"""A database that is killed, stalled, late, read-only or cut off: 503 within the deadline, and no restart after it."""

import asyncio
import os
import re
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pymysql
import pytest

from bench.faults.proxy import Proxy
from service.address import DatabaseAddress
from service.localdb import LocalDatabase, free_port
from service.mariadb import account
from service.settings import Settings
from tests.conftest import PASSWORD, StartClient
from tests.data import a_copy
from tests.server import Server, cursor_on, migrate

DEADLINE = 1  # seconds a statement may take; login needs two, and a hash
Flow = dict[str, str]


@pytest.fixture
def own_server(own_mariadb: LocalDatabase, tmp_path: Path) -> Iterator[Server]:
    with Server(own_mariadb.url, tmp_path, DATABASE_TIMEOUT=f"{DEADLINE}s") as server:
        yield server


@pytest.fixture
async def own_client(own_server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with own_server.client() as client:
        yield client


async def enter(client: httpx.AsyncClient, name: str) -> Flow:
    """Signs up and logs in twice; every step must succeed."""
    credentials = {"username": name, "password": PASSWORD}
    signup = await client.post("/auth/signup", json=credentials)
    assert signup.status_code == 200, signup.text
    login = await client.post("/auth/login", json=credentials)
    assert login.status_code == 200, login.text
    second = await client.post("/auth/login", json=credentials)
    return {**credentials, **login.json(), "secondRefreshToken": second.json()["refreshToken"]}


async def ask_everything(client: httpx.AsyncClient, flow: Flow, new_name: Callable[[], str]) -> Counter[int]:
    """What each endpoint that needs the database answers; each within its deadline, and verify always 200."""
    credentials = {"username": flow["username"], "password": PASSWORD}
    token = {"refreshToken": flow["refreshToken"]}
    started = time.monotonic()
    verified, *answers = await asyncio.gather(
        client.get("/auth/verify", headers={"Authorization": f"Bearer {flow['token']}"}),
        client.post("/auth/signup", json={"username": new_name(), "password": PASSWORD}),
        client.post("/auth/login", json=credentials),
        client.post("/auth/refresh", json=token),
        client.post("/auth/logout", json={"refreshToken": flow["secondRefreshToken"]}),
    )
    assert time.monotonic() - started < 2 * DEADLINE + 3
    assert verified.status_code == 200
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["Retry-After"] == "1"
            assert set(answer.json()) == {"error", "code"}
    return Counter(answer.status_code for answer in answers)


async def until_it_works(client: httpx.AsyncClient, new_name: Callable[[], str]) -> None:
    """With no restart of the service; until then there is nothing but 503."""
    async with asyncio.timeout(20):
        while True:
            credentials = {"username": new_name(), "password": PASSWORD}
            answer = await client.post("/auth/signup", json=credentials)
            if answer.status_code == 200:
                break
            assert answer.status_code == 503
    flow = await enter(client, new_name())
    assert await ask_everything(client, flow, new_name) == {200: 4}


def as_root(mariadb: LocalDatabase, *statements: str) -> None:
    for statement in statements:
        ask_as_root(mariadb, statement)


def ask_as_root(mariadb: LocalDatabase, statement: str) -> tuple[tuple[Any, ...], ...]:
    with (
        closing(pymysql.connect(unix_socket=str(mariadb.socket), user=account(), autocommit=True)) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return cursor.fetchall()


def connections_of(mariadb: LocalDatabase) -> set[int]:
    """Those of the service, as its database numbers them."""
    return {row[0] for row in ask_as_root(mariadb, "select id from information_schema.processlist where user = 'auth'")}


async def until_one_connection(mariadb: LocalDatabase) -> None:
    """Until the service has no more, as its database sees it."""
    async with asyncio.timeout(20):
        while len(connections_of(mariadb)) > 1:
            await asyncio.sleep(0.05)


async def test_a_killed_database_is_a_503_and_a_new_one_is_used_at_once(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, own_server: Server, new_name: Callable[[], str]
) -> None:
    flow = await enter(own_client, new_name())
    own_mariadb.kill()
    assert await ask_everything(own_client, flow, new_name) == {503: 4}
    own_mariadb.start()
    assert await ask_everything(own_client, flow, new_name) == {200: 4}
    assert "Traceback" not in own_server.log.read_text()


async def test_a_stalled_database_is_a_503_within_the_deadline(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, own_server: Server, new_name: Callable[[], str]
) -> None:
    flow = await enter(own_client, new_name())
    os.kill(own_mariadb.pid, signal.SIGSTOP)
    try:
        for _ in range(2):  # the second time on new connections, stalled in their handshake
            assert await ask_everything(own_client, flow, new_name) == {503: 4}
    finally:
        os.kill(own_mariadb.pid, signal.SIGCONT)
    await until_it_works(own_client, new_name)
    assert "Traceback" not in own_server.log.read_text()


async def test_a_database_killed_under_load_loses_nothing_that_was_acknowledged(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, own_server: Server, new_name: Callable[[], str]
) -> None:
    acknowledged: list[str] = []
    statuses: Counter[int] = Counter()
    stopping = asyncio.Event()

    async def sign_up_users() -> None:
        while not stopping.is_set():
            name = new_name()
            answer = await own_client.post("/auth/signup", json={"username": name, "password": PASSWORD})
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                acknowledged.append(name)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(sign_up_users())
        for _ in range(2):
            served = len(acknowledged)
            while len(acknowledged) < served + 10:
                await asyncio.sleep(0.01)
            refused = statuses[503]
            own_mariadb.kill()
            while statuses[503] == refused:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(own_mariadb.start)
        served = len(acknowledged)
        while len(acknowledged) < served + 10:
            await asyncio.sleep(0.01)
        stopping.set()
    assert set(statuses) == {200, 503}
    with cursor_on(own_mariadb.url) as sql:
        sql.execute("select count(*) from users where username in %s", (acknowledged,))
        assert sql.fetchone() == (len(acknowledged),)
    login = await own_client.post("/auth/login", json={"username": acknowledged[0], "password": PASSWORD})
    assert login.status_code == 200
    assert "Traceback" not in own_server.log.read_text()


async def test_a_service_starts_without_its_database_and_uses_it_when_it_comes(
    own_mariadb: LocalDatabase, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    with Server(own_mariadb.url, tmp_path) as earlier:
        async with earlier.client() as client:
            flow = await enter(client, new_name())
    own_mariadb.kill()
    with Server(own_mariadb.url, tmp_path) as server:
        async with server.client() as client:
            assert await ask_everything(client, flow, new_name) == {503: 4}
            own_mariadb.start()
            await until_it_works(client, new_name)


async def test_a_database_that_is_down_delays_no_start_and_a_silent_one_by_seconds(
    settings: Settings, start: StartClient
) -> None:
    """Though its timeout is longer, and so is the wait for what has ended."""
    began = time.monotonic()
    async with start(database=replace(settings.database, port=free_port())):
        assert time.monotonic() - began < 15
    async with Proxy(settings.database.port) as network:
        network.freeze()
        began = time.monotonic()
        async with start(database=replace(settings.database, port=network.port), database_timeout=60):
            assert time.monotonic() - began < 25


async def test_a_service_leaves_when_its_late_database_has_no_schema(new_data: Path, tmp_path: Path) -> None:
    with a_copy(new_data, tmp_path / "mariadb") as mariadb:
        as_root(mariadb, "drop database auth")  # its start makes an empty one
        mariadb.stop()
        with Server(mariadb.url, tmp_path) as server:
            mariadb.start()
            assert await asyncio.to_thread(server.process.wait, 20) == 3
            assert "schema_outdated" in server.log.read_text()
            assert "Traceback" not in server.log.read_text()


async def test_connections_that_were_killed_while_idle_are_not_noticed(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, new_name: Callable[[], str]
) -> None:
    flow = await enter(own_client, new_name())
    for _ in range(3):
        address = DatabaseAddress.from_url(own_mariadb.url)
        as_root(own_mariadb, f"kill user {address.user}@{address.host}")
        verified = await own_client.post("/auth/refresh", json={"refreshToken": flow["refreshToken"]})
        assert verified.status_code == 200


async def test_connections_that_the_database_closed_as_idle_are_not_noticed(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, own_server: Server, new_name: Callable[[], str]
) -> None:
    """uvloop, on which uvicorn runs, has closed their transports itself by then: a write is a RuntimeError."""
    as_root(own_mariadb, "set global wait_timeout = 1", "kill user auth@127.0.0.1")
    flows = await asyncio.gather(*(enter(own_client, new_name()) for _ in range(4)))
    for _ in range(2):
        await until_one_connection(own_mariadb)  # the one that reads the revocations twice a second
        for answers in await asyncio.gather(*(ask_everything(own_client, flow, new_name) for flow in flows)):
            assert answers == {200: 4}
    await until_one_connection(own_mariadb)
    assert await asyncio.to_thread(own_server.stop) == 0
    assert "Traceback" not in own_server.log.read_text()


async def test_a_database_that_refuses_to_write_is_a_503(
    own_mariadb: LocalDatabase, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    settings = {"DATABASE_TIMEOUT": f"{DEADLINE}s", "REVOCATION_INTERVAL": "0s"}  # else the reader would leave, too
    with Server(own_mariadb.url, tmp_path, **settings) as server:
        async with server.client() as client:
            flow = await enter(client, new_name())
            as_root(own_mariadb, "set global read_only = 1")
            before = connections_of(own_mariadb)
            answer = await client.post("/auth/signup", json={"username": new_name(), "password": PASSWORD})
            assert answer.status_code == 503
            assert answer.json()["code"] == "database_unavailable"
            assert before
            async with asyncio.timeout(20):  # until the server has heard that it was left
                while before & connections_of(own_mariadb):
                    await asyncio.sleep(0.02)
            as_root(own_mariadb, "set global read_only = 0")
            assert await ask_everything(client, flow, new_name) == {200: 4}
    assert "Traceback" not in server.log.read_text()


async def test_connections_that_began_read_only_are_left_when_the_server_writes_again(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, new_name: Callable[[], str]
) -> None:
    """Error 1792: as a server's own default makes them, for as long as they last."""
    flow = await enter(own_client, new_name())
    as_root(own_mariadb, "set global tx_read_only = 1", "kill user auth@127.0.0.1")
    answer = await own_client.post("/auth/signup", json={"username": new_name(), "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    as_root(own_mariadb, "set global tx_read_only = 0")
    assert await ask_everything(own_client, flow, new_name) == {200: 4}


async def test_a_schema_that_vanishes_is_a_503(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, new_name: Callable[[], str]
) -> None:
    flow = await enter(own_client, new_name())
    migrate(own_mariadb.url, "rollback", "--all")
    assert await ask_everything(own_client, flow, new_name) == {503: 4}
    migrate(own_mariadb.url)
    await until_it_works(own_client, new_name)


async def test_a_statement_that_the_schema_refuses_is_a_bug_and_stores_nothing(
    own_client: httpx.AsyncClient, own_mariadb: LocalDatabase, own_server: Server, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 49, 62: too long for its column is never cut; sql_mode is ours, whatever the server has."""
    as_root(own_mariadb, "set global sql_mode = ''", "kill user auth@127.0.0.1")
    as_root(own_mariadb, "alter table auth.users modify username varchar(3) not null")
    name = new_name()
    answer = await own_client.post("/auth/signup", json={"username": name, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    login = await own_client.post("/auth/login", json={"username": name, "password": PASSWORD})
    assert login.status_code == 401
    assert "Data too long" in own_server.log.read_text()


class CuttingProxy:
    """Stands before the database and cuts the connection that sent a statement, after the server carried it out."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.pattern: re.Pattern[bytes] | None = None
        self.cuts = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        connections: list[asyncio.Task[None]] = []

        def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(asyncio.create_task(self._serve(reader, writer)))

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]
            await asyncio.gather(*connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        database_reader, database_writer = await asyncio.open_connection("127.0.0.1", self._port)
        doomed = False

        async def forward_statements() -> None:
            nonlocal doomed
            while data := await reader.read(65536):
                if self.pattern and self.pattern.search(data):
                    self.pattern, doomed = None, True
                database_writer.write(data)
            database_writer.close()

        async def forward_answers() -> None:
            while data := await database_reader.read(65536):
                if doomed:
                    self.cuts += 1
                    break
                writer.write(data)
            writer.close()

        await asyncio.gather(forward_statements(), forward_answers())
        for each in (writer, database_writer):
            await each.wait_closed()


async def test_a_write_whose_answer_was_lost_is_not_lost_and_not_a_conflict(
    start: StartClient, settings: Settings, new_name: Callable[[], str]
) -> None:
    """The connection dies between the commit and the answer: the second try must recognise its own row."""
    proxy = CuttingProxy(settings.database.port)
    async with proxy.running() as port:
        address = DatabaseAddress(
            host="127.0.0.1", port=port, user="auth", password=settings.database.password, name="auth"
        )
        credentials = {"username": new_name(), "password": PASSWORD}
        async with start(database=address) as client:
            proxy.pattern = re.compile(b"insert into users")
            assert (await client.post("/auth/signup", json=credentials)).status_code == 200
            assert (await client.post("/auth/signup", json=credentials)).status_code == 409
            proxy.pattern = re.compile(b"insert into refresh_tokens")
            login = await client.post("/auth/login", json=credentials)
            assert login.status_code == 200
            token = {"refreshToken": login.json()["refreshToken"]}
            proxy.pattern = re.compile(b"update refresh_tokens")
            rotated = await client.post("/auth/refresh", json=token)
            assert rotated.status_code == 200
            again = await client.post("/auth/refresh", json=token)
            assert again.json()["refreshToken"] == rotated.json()["refreshToken"]
            proxy.pattern = re.compile(b"delete from refresh_tokens")
            assert (await client.post("/auth/logout", json=token)).status_code == 200
            assert (await client.post("/auth/refresh", json=token)).status_code == 401
    assert proxy.cuts == 4
