"""The pool by itself: how many connections, how long they are kept, and what is tried again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pymysql
import pytest

from bench.faults.proxy import Proxy
from service import pool as connections
from service.address import DatabaseAddress
from service.database import Database, Statements
from service.errors import DatabaseUnavailable, InvalidCredentials, Overloaded, Unavailable
from service.localdb import LocalDatabase
from tests.conftest import PASSWORD, StartClient
from tests.data import a_copy
from tests.server import cursor_on
from tests.test_database_faults import as_root


@asynccontextmanager
async def pool(url: str, size: int = 2, timeout: float = 2, port: int | None = None) -> AsyncIterator[Database]:
    address = DatabaseAddress.from_url(url)
    opened = Database(replace(address, port=port or address.port), size=size, timeout=timeout)
    try:
        yield opened
    finally:
        await opened.close()


async def test_the_pool_never_has_more_connections_than_its_size(own_mariadb: LocalDatabase) -> None:
    async with pool(own_mariadb.url, size=3, timeout=20) as opened:
        query = "select connection_id(), sleep(0.02)"
        rows = await asyncio.gather(*(opened.fetch_one(query) for _ in range(40)))
        assert len({row[0] for row in rows if row}) == 3
        row = await opened.fetch_one("select count(*) from information_schema.processlist where user = 'auth'")
        assert row == (3,)


async def test_after_a_fail_over_one_statement_finds_out_for_all_connections(mariadb: LocalDatabase) -> None:
    """By address: nothing is heard any more of those that are open, nor that they have ended; new ones are answered."""
    async with (
        Proxy(DatabaseAddress.from_url(mariadb.url).port) as network,
        pool(mariadb.url, size=5, timeout=1, port=network.port) as opened,
    ):
        await asyncio.gather(*(opened.fetch_one("select sleep(0.1)") for _ in range(5)))
        assert network.freeze() == 5
        network.thaw()
        with pytest.raises(Overloaded):
            await opened.fetch_one("select 1")
        assert await opened.fetch_one("select 1") == (1,)


async def test_a_statement_that_takes_too_long_leaves_the_connections_that_were_used_meanwhile(
    own_mariadb: LocalDatabase,
) -> None:
    async with pool(own_mariadb.url, timeout=0.5) as opened:
        slow = asyncio.create_task(opened.fetch_one("select sleep(1)"))
        ids = set()
        while not slow.done():
            ids.add(await opened.fetch_one("select connection_id()"))
        assert isinstance(slow.exception(), Overloaded)
        ids.add(await opened.fetch_one("select connection_id()"))
        assert len(ids) == 1


async def test_a_statement_that_takes_too_long_does_not_bring_back_a_server_that_was_left(
    own_mariadb: LocalDatabase,
) -> None:
    async with pool(own_mariadb.url, size=2, timeout=2) as opened:
        await asyncio.gather(*(opened.fetch_one("select sleep(0.05)") for _ in range(2)))  # connects
        too_long = asyncio.create_task(opened.fetch_one("select sleep(9)"))
        await asyncio.sleep(1)
        busy = asyncio.create_task(opened.fetch_one("select connection_id(), sleep(1.5)"))
        await asyncio.sleep(0.5)
        opened.reconnect()
        await asyncio.wait([too_long])
        assert isinstance(too_long.exception(), Overloaded)
        assert (left := await busy)
        assert await opened.fetch_one("select connection_id()") != left[:1]


async def test_those_that_wait_for_a_connection_are_served_in_their_order(own_mariadb: LocalDatabase) -> None:
    served: list[int] = []

    async def ask(number: int) -> None:
        await opened.fetch_one("select sleep(0.001)")
        served.append(number)

    async with pool(own_mariadb.url, size=1, timeout=20) as opened:
        await asyncio.gather(*(ask(number) for number in range(50)))
    assert served == list(range(50))


async def test_the_server_waits_for_no_lock_of_a_row_or_a_table_longer_than_we_do(mariadb: LocalDatabase) -> None:
    """Else a statement waits on after its refusal, and is carried out when whoever holds the table lets go."""
    async with pool(mariadb.url, timeout=4) as opened:
        waits = await opened.fetch_one("select @@session.innodb_lock_wait_timeout, @@session.lock_wait_timeout")
    assert waits == (2, 2)


async def test_a_stalled_handshake_keeps_nobody_from_the_idle_connections(own_mariadb: LocalDatabase) -> None:
    connections: list[asyncio.StreamWriter] = []
    copies: list[asyncio.Task[None]] = []

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def only_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) == 1:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", own_mariadb.port)
            copies.extend(asyncio.create_task(copy(*pair)) for pair in ((reader, there_writer), (there_reader, writer)))

    async with await asyncio.start_server(only_the_first, "127.0.0.1", 0) as proxy:
        async with pool(own_mariadb.url, timeout=5, port=proxy.sockets[0].getsockname()[1]) as opened:
            busy = asyncio.create_task(opened.fetch_one("select sleep(0.1)"))
            while len(connections) < 1:
                await asyncio.sleep(0.01)
            stalled = asyncio.create_task(opened.fetch_one("select 1"))
            while len(connections) < 2:
                await asyncio.sleep(0.01)
            await busy
            for _ in range(20):
                assert await opened.fetch_one("select 1") == (1,)
            assert not stalled.done()
            stalled.cancel()
            await asyncio.wait({stalled})
        await asyncio.gather(*copies)
        for writer in connections:
            writer.close()


async def test_a_connection_that_was_idle_for_long_is_not_trusted(
    own_mariadb: LocalDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pool(own_mariadb.url) as opened:
        first = await opened.fetch_one("select connection_id()")
        assert await opened.fetch_one("select connection_id()") == first
        monkeypatch.setattr(connections, "_LONGEST_IDLE", -1)
        assert await opened.fetch_one("select connection_id()") != first


async def test_a_session_is_strict_in_utc_and_commits_whatever_the_server_prefers(own_mariadb: LocalDatabase) -> None:
    """REQUIREMENTS 49, 51."""
    as_root(own_mariadb, "set global sql_mode = ''", "set global time_zone = '+05:00'", "set global autocommit = 0")
    as_root(own_mariadb, "set global completion_type = 'CHAIN'", "set global init_connect = 'set names gbk'")
    query = "select @@sql_mode, @@time_zone, @@autocommit, @@completion_type"
    waits = "select @@innodb_lock_wait_timeout, @@lock_wait_timeout, @@idle_transaction_timeout"
    charsets = "select @@character_set_client, @@character_set_connection, @@character_set_results"
    async with pool(own_mariadb.url) as opened:
        row = await opened.fetch_one(query)
        assert row == ("STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", "+00:00", 1, "NO_CHAIN")
        assert await opened.fetch_one(waits) == (1, 1, 5)
        assert await opened.fetch_one(charsets) == ("utf8mb4",) * 3


async def test_no_character_set_of_the_server_turns_a_name_into_a_statement(
    own_mariadb: LocalDatabase, start: StartClient
) -> None:
    """REQUIREMENTS 51: in GBK the last byte of the first letter would take the escaping backslash along."""
    as_root(own_mariadb, "set global init_connect = 'set names gbk'")
    async with start(database=DatabaseAddress.from_url(own_mariadb.url)) as client:
        for name in ("丁';delete/**/from/**/users#", "丁'or/**/1=1#", "𠮷野家"):
            credentials = {"username": name, "password": PASSWORD}
            assert (await client.post("/auth/signup", json=credentials)).status_code == 200
            assert (await client.post("/auth/login", json=credentials)).status_code == 200
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("select count(*) from users")
        assert cursor.fetchone() == (3,)


async def test_a_transaction_that_nobody_goes_on_with_is_undone_within_seconds(own_mariadb: LocalDatabase) -> None:
    """As that of a machine that is gone without a word: its locks would last for hours."""
    address = DatabaseAddress.from_url(own_mariadb.url)
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("insert into users values (uuid(), 'x', 'x', '', now())")
    gone = connections.Pool(address, size=1, lock_wait=1)
    async with gone.connection() as connection, pool(own_mariadb.url, timeout=60) as opened:
        await connection.begin()
        await connection.query("delete from users")
        assert await opened.execute("delete from users") == 1
        with pytest.raises(pymysql.OperationalError):
            await connection.commit()
        assert await opened.fetch_one("select @@wait_timeout") == (330,)  # all that there is on MySQL


async def test_nothing_goes_on_waiting_for_a_lock_after_the_deadline(own_mariadb: LocalDatabase) -> None:
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("insert into users values (uuid(), 'x', 'x', '', now())")
        cursor.execute("begin")
        cursor.execute("select * from users for update")
        async with pool(own_mariadb.url, timeout=0.5) as opened:
            with pytest.raises(Overloaded):
                await opened.execute("delete from users")
        async with asyncio.timeout(20):
            while True:
                cursor.execute(
                    "select count(*) from information_schema.processlist where info like 'delete from users%'"
                )
                if cursor.fetchone() == (0,):
                    break
                await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "failures", "status"),
    [(1213, 5, 200), (1467, 5, 200), (1020, 5, 200), (3101, 5, 200), (1213, 6, 503), (1205, 1, 200), (1205, 2, 503)],
)
async def test_a_deadlock_is_tried_again_a_few_times_and_a_lock_timeout_once(
    own_mariadb: LocalDatabase, start: StartClient, new_name: Callable[[], str], number: int, failures: int, status: int
) -> None:
    """The error is the server's own, raised by a trigger as often as `failures` says."""
    as_root(
        own_mariadb,
        "create table auth.attempts (n int auto_increment primary key) engine = Aria transactional = 0",
        f"""
        create definer = auth@127.0.0.1 trigger auth.failing before insert on auth.refresh_tokens for each row
        begin
            insert into auth.attempts values ();
            if (select count(*) from auth.attempts) <= {failures} then
                signal sqlstate '40001' set mysql_errno = {number}, message_text = 'as the test wants it';
            end if;
        end
        """,
    )
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start(database=DatabaseAddress.from_url(own_mariadb.url)) as client:
        await client.post("/auth/signup", json=credentials)
        login = await client.post("/auth/login", json=credentials)
        assert login.status_code == status
        assert (await client.post("/auth/login", json=credentials)).status_code == 200


async def test_a_node_that_has_no_majority_is_left_for_another(own_mariadb: LocalDatabase) -> None:
    """Error 1047 of a Galera Cluster; here a trigger's, for those connections that there are now."""
    async with pool(own_mariadb.url, size=2) as opened:
        rows = await asyncio.gather(*(opened.fetch_one("select connection_id(), sleep(0.1)") for _ in range(2)))
        with cursor_on(own_mariadb.url) as cursor:
            cursor.execute("create table nodes (id int unsigned)")
            cursor.execute(
                f"""
                create trigger deserted before insert on nodes for each row
                if connection_id() <= {max(row[0] for row in rows if row)} then
                    signal sqlstate '08S01' set mysql_errno = 1047, message_text = 'WSREP has not yet prepared node';
                end if
                """
            )
        assert await opened.execute("insert into nodes values (connection_id())") == 1


async def test_a_connection_that_the_server_refuses_is_a_database_that_is_away(new_data: Path, tmp_path: Path) -> None:
    """1203 here, as 1040 would be: too many connections."""
    with a_copy(new_data, tmp_path / "db", "--max-user-connections=1") as full:
        async with pool(full.url) as opened:
            with cursor_on(full.url), pytest.raises(DatabaseUnavailable):
                await opened.fetch_one("select 1")
            async with asyncio.timeout(20):
                while True:
                    with suppress(DatabaseUnavailable):
                        assert await opened.fetch_one("select 1") == (1,)
                        break


async def test_what_does_not_speak_the_protocol_is_a_database_that_is_away() -> None:
    async def speak_otherwise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x05\x00\x00\x00\x0a5.0\x00")
        writer.close()

    async with await asyncio.start_server(speak_otherwise, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        async with pool(f"mysql://auth:x@127.0.0.1:{port}/auth") as opened:
            with pytest.raises(DatabaseUnavailable):
                await opened.fetch_one("select 1")


insert = "insert into revocations (session_id, created_at, expires_at) values"


async def test_a_transaction_happens_whole_or_not_at_all(own_mariadb: LocalDatabase) -> None:
    async def work(transaction: Statements) -> int:
        await transaction.execute(f"{insert} ('a', now(), now())")
        if refused:
            raise refused.pop()
        return await transaction.execute(f"{insert} ('b', now(), now())")

    async with pool(own_mariadb.url, size=1) as opened:
        refused: list[BaseException] = [InvalidCredentials(), asyncio.CancelledError(), ValueError()]
        for error in reversed(refused.copy()):
            with pytest.raises(type(error)):
                await opened.transact(work)
            assert await opened.fetch_one("select count(*) from revocations") == (0,)
        assert await opened.transact(work) == 1
        assert await opened.fetch_one("select count(*) from revocations") == (2,)


@pytest.mark.parametrize("timeout", [4, 5])
async def test_a_transaction_that_a_statement_of_it_ends_leaves_nothing_on_its_connection(
    own_mariadb: LocalDatabase, timeout: float
) -> None:
    """REQUIREMENTS 66: else what comes next on it would be in a transaction that nobody commits, or commit that."""

    async def work(transaction: Statements) -> None:
        await transaction.execute(f"{insert} ('half', now(), now())")
        await transaction.execute("delete from users")

    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("insert into users values ('x', 'x', 'x', '', now())")
        cursor.execute("begin")
        cursor.execute("select * from users for update")
        async with pool(own_mariadb.url, size=1, timeout=timeout) as opened:
            with pytest.raises(Unavailable):
                await opened.transact(work)
            await opened.execute(f"{insert} ('acknowledged', now(), now())")
            cursor.execute("rollback")
            cursor.execute("select session_id from revocations")
            assert cursor.fetchall() == (("acknowledged",),)


async def test_a_transaction_begins_again_after_a_deadlock(own_mariadb: LocalDatabase) -> None:
    """Two lock two rows in opposite orders; one is chosen to give way, and both succeed."""
    with cursor_on(own_mariadb.url) as cursor:
        for each in ("a", "b"):
            cursor.execute("insert into users values (%s, %s, %s, '', now())", (each, each, each))
    both, begun = asyncio.Event(), []

    async def work(transaction: Statements, first: str, second: str) -> None:
        update = "update users set password_hash = concat(password_hash, 'x') where id = %s"
        await transaction.execute(update, first)
        begun.append(first)
        if len(begun) == 2:
            both.set()
        await both.wait()
        await transaction.execute(update, second)

    async with pool(own_mariadb.url, timeout=5) as opened:
        orders = [("a", "b"), ("b", "a")]
        await asyncio.gather(*(opened.transact(partial(work, first=first, second=second)) for first, second in orders))
        assert len(begun) == 3
        assert await opened.fetch_all("select password_hash from users") == [("xx",), ("xx",)]


async def test_a_transaction_begins_again_on_another_connection(own_mariadb: LocalDatabase) -> None:
    ids = []

    async def work(transaction: Statements) -> None:
        await transaction.execute(f"{insert} ('a', now(), now())")
        row = await transaction.fetch_one("select connection_id()")
        assert row
        ids.append(row[0])
        if len(ids) == 1:
            as_root(own_mariadb, f"kill {row[0]}")

    async with pool(own_mariadb.url) as opened:
        await opened.transact(work)
        assert len(set(ids)) == 2
        assert await opened.fetch_one("select count(*) from revocations") == (1,)
