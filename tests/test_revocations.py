"""Whatever ends a session ends its access tokens, on every process within REVOCATION_INTERVAL."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from pymysql.cursors import Cursor
from uuid_utils.compat import uuid7

from bench.faults.proxy import Proxy
from service import revocations
from service.address import DatabaseAddress
from service.database import Database, Row
from service.errors import SessionRevoked, StaleRevocations
from service.localdb import LocalDatabase
from service.revocations import GRACE, Revocations
from service.settings import Settings
from tests.conftest import PASSWORD, StartClient
from tests.operators import Administrator
from tests.server import ISSUER, Server, claims_of, cursor_on
from tests.test_database import pool
from tests.test_database_faults import as_root, connections_of
from tests.test_sessions import Pair, is_over, log_in, refresh, sid, verify
from tests.test_verify import bearer

ROUNDS = 1000


@pytest.fixture(scope="module")
def second(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another process on the same database, where a user has three sessions at most."""
    with Server(mariadb.url, tmp_path_factory.mktemp("second"), MAX_SESSIONS="3") as running:
        yield running


@pytest.fixture
async def other(second: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with second.client() as http:
        yield http


async def log_out(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    await client.post("/auth/logout", json={"refreshToken": pair["refreshToken"]})


async def end_it(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    await client.delete(f"/auth/sessions/{sid(pair)}", headers=bearer(pair["token"]))


async def end_all(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    await client.post("/auth/logoutall", headers=bearer(pair["token"]))


async def change_the_password(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    headers = bearer((await log_in(client, name))["token"])
    await client.put("/auth/password", json={"currentPassword": PASSWORD, "newPassword": "a new one"}, headers=headers)


async def delete_the_account(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    await client.request("DELETE", "/auth/account", json={"password": PASSWORD}, headers=bearer(pair["token"]))


async def reuse_an_old_token(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    successor = await refresh(client, pair)
    assert (await refresh(client, successor.json())).status_code == 200
    assert (await refresh(client, pair)).status_code == 401


async def log_in_past_the_limit(client: httpx.AsyncClient, pair: Pair, name: str) -> None:
    for _ in range(3):
        await log_in(client, name)


ROADS = [log_out, end_it, end_all, change_the_password, delete_the_account, reuse_an_old_token, log_in_past_the_limit]


async def test_every_end_of_a_session_ends_its_access_tokens_here_and_elsewhere(
    client: httpx.AsyncClient, other: httpx.AsyncClient, new_user: Callable[[], str]
) -> None:
    """Here before the answer, elsewhere within a second."""

    async def walk(end: Callable[[httpx.AsyncClient, Pair, str], Awaitable[None]]) -> None:
        name = new_user()
        pair = await log_in(other, name)
        assert (await verify(client, pair)).status_code == (await verify(other, pair)).status_code == 200
        await end(other, pair, name)
        ended_at = time.monotonic()
        assert await is_over(other, pair)
        await asyncio.sleep(ended_at + 1 - time.monotonic())
        assert await is_over(client, pair)

    seen = await asyncio.gather(*map(walk, ROADS), return_exceptions=True)
    assert {road.__name__: error for road, error in zip(ROADS, seen, strict=True) if error} == {}


@pytest.mark.repeated
async def test_of_1000_logouts_none_is_noticed_late_by_another_process(
    client: httpx.AsyncClient, other: httpx.AsyncClient, tokens: Pair, name: str, sql: Cursor
) -> None:
    user, now = str(claims_of(tokens["token"])["sub"]), int(time.time())
    opened = [str(uuid7()) for _ in range(ROUNDS)]
    sql.executemany(
        """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        values (%s, %s, 0, from_unixtime(%s), from_unixtime(%s), from_unixtime(%s))
        """,
        [(session, user, now, now + 1000, now) for session in opened],
    )
    who = {"user_id": user, "username": name}
    at_once = asyncio.Semaphore(8)
    seen: list[tuple[int, int, int]] = []

    async def play(session: str) -> None:
        access = ISSUER.issue_access(session_id=session, now=now, **who)
        lives = {"generation": 0, "issued_at": now, "expires_at": now + 1000}
        token = ISSUER.issue_refresh(session_id=session, **who, **lives)  # type: ignore[arg-type]  # told apart by name
        async with at_once:
            before = await other.get("/auth/verify", headers=bearer(access))
            logout = await client.post("/auth/logout", json={"refreshToken": token})
        answered = time.monotonic()
        await asyncio.sleep(answered + 1 - time.monotonic())
        after = await other.get("/auth/verify", headers=bearer(access))
        seen.append((before.status_code, logout.status_code, after.status_code))

    await asyncio.gather(*map(play, opened))
    assert seen == [(200, 200, 401)] * ROUNDS


async def test_an_interval_of_zero_leaves_access_tokens_alone(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """As the original does: an access token outlives its session until it expires."""
    name = new_name()
    async with start(revocation_interval=0) as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        pair = await log_in(client, name)
        await log_out(client, pair, name)
        assert (await verify(client, pair)).status_code == 200
        assert (await refresh(client, pair)).status_code == 401
    sql.execute("select count(*) from revocations where session_id = %s", sid(pair))
    assert sql.fetchone() == (0,)


async def test_a_new_process_knows_of_what_ended_before_it_started(
    client: httpx.AsyncClient, start: StartClient, tokens: Pair
) -> None:
    await client.post("/auth/logout", json={"refreshToken": tokens["refreshToken"]})
    async with start() as late:
        assert (await verify(late, tokens)).status_code == 401


# The reading by itself.


@pytest.fixture
async def known(own_mariadb: LocalDatabase) -> AsyncIterator[Revocations]:
    async with pool(own_mariadb.url, size=1) as database:
        yield Revocations(database, interval=1, lifetime=300)


def revoke(sql: Cursor, *sessions: str) -> None:
    sql.executemany(
        """
        insert into revocations (session_id, created_at, expires_at)
        values (%s, utc_timestamp(6), utc_timestamp(6) + interval %s second)
        """,
        [(session, 300 + GRACE) for session in sessions],
    )


def is_known(known: Revocations, session: str) -> bool:
    try:
        known.require_live(session)
    except SessionRevoked:
        return True
    return False


@pytest.mark.parametrize(("read_before", "apart"), [(True, 0), (False, 0), (True, 14)])
async def test_a_revocation_that_is_committed_late_is_not_missed(
    own_mariadb: LocalDatabase, known: Revocations, monkeypatch: pytest.MonkeyPatch, *, read_before: bool, apart: float
) -> None:
    """It has an earlier id than one that was read; its transaction stays open across two readings, for half a minute.

    As one of a machine that stalls.
    """
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    if read_before:
        await known.read()
    with cursor_on(own_mariadb.url) as slow, cursor_on(own_mariadb.url) as fast:
        slow.execute("begin")
        revoke(slow, "late")
        revoke(fast, "early")
        for _ in range(2):
            await known.read()
            now[0] += apart
        assert is_known(known, "early")
        assert not is_known(known, "late")
        slow.execute("commit")
        await known.read()
        assert is_known(known, "late")


async def test_a_late_one_is_not_hidden_by_those_that_come_during_the_reading(own_mariadb: LocalDatabase) -> None:
    """Each time between the counting and the fetching."""

    class Meanwhile(Database):
        async def fetch_all(self, statement: str, *arguments: object) -> list[Row]:
            revoke(fast, "meanwhile")
            return await super().fetch_all(statement, *arguments)

    database = Meanwhile(DatabaseAddress.from_url(own_mariadb.url), size=1, timeout=2)
    known = Revocations(database, interval=1, lifetime=300)
    with cursor_on(own_mariadb.url) as slow, cursor_on(own_mariadb.url) as fast:
        await known.read()
        slow.execute("begin")
        revoke(slow, "late")
        revoke(fast, "early")
        await known.read()
        slow.execute("commit")
        for _ in range(3):
            revoke(fast, "another")
            await known.read()
        assert is_known(known, "late")
    await database.close()


async def test_a_reading_goes_back_no_further_than_it_must(
    own_mariadb: LocalDatabase, known: Revocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "OVERLAP", 0)
    with cursor_on(own_mariadb.url) as sql:
        revoke(sql, "first", "second")
        for _ in range(2):
            await known.read()
        sql.execute("update revocations set session_id = 'rewritten' where session_id = 'first'")
        revoke(sql, "third")
        await known.read()
    assert [is_known(known, each) for each in ("first", "second", "third", "rewritten")] == [True, True, True, False]


async def test_many_are_read_a_page_at_a_time(
    own_mariadb: LocalDatabase, known: Revocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocations, "PAGE", 10)
    for round_ in range(3):
        sessions = [f"{round_}-{number}" for number in range(30)]
        with cursor_on(own_mariadb.url) as sql:
            revoke(sql, *sessions)
        await known.read()
        assert all(is_known(known, session) for session in sessions)


@pytest.mark.parametrize("rows", [0, 2])
async def test_a_table_that_was_restored_is_read_from_its_beginning(
    own_mariadb: LocalDatabase, known: Revocations, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Its counter went back, so that new rows have ids which were seen before."""
    monkeypatch.setattr(revocations, "OVERLAP", 0)
    with cursor_on(own_mariadb.url) as sql:
        revoke(sql, *(f"old-{number}" for number in range(50)))
        for _ in range(2):
            await known.read()
        sql.execute("truncate table revocations")
        revoke(sql, *(f"kept-{number}" for number in range(rows)))
        await known.read()
        revoke(sql, "new")
        await known.read()
    assert is_known(known, "new")


async def test_rows_that_were_lost_with_a_server_are_not_taken_for_those_in_their_place(
    own_mariadb: LocalDatabase, known: Revocations
) -> None:
    """The server that took over had not heard of the last ones, and gives their ids to others."""
    with cursor_on(own_mariadb.url) as sql:
        revoke(sql, *(f"session-{number}" for number in range(5)))
        await known.read()
        sql.execute("delete from revocations where session_id in ('session-3', 'session-4')")
        sql.execute("alter table revocations auto_increment = 4")
        revoke(sql, "other-3", "other-4")
        await known.read()
    assert all(is_known(known, each) for each in ("session-4", "other-3", "other-4"))


async def test_a_server_that_takes_no_writes_any_more_is_left(own_mariadb: LocalDatabase) -> None:
    """After a switch-over it stays up behind open connections, and nobody tells it who logs out."""
    async with pool(own_mariadb.url, size=1) as reader, pool(own_mariadb.url, size=1) as other:
        known = Revocations(reader, interval=1000, lifetime=300, beside=other)
        await asyncio.gather(known.read(), other.fetch_one("select 1"))
        before = connections_of(own_mariadb)
        assert len(before) == 2
        await asyncio.gather(known.read(), other.fetch_one("select 1"))
        assert connections_of(own_mariadb) == before
        as_root(own_mariadb, "set global read_only = 1")
        busy = asyncio.create_task(other.fetch_one("select sleep(0.5)"))
        while other.in_use == 0:
            await asyncio.sleep(0)
        await known.read()
        await busy
        await asyncio.gather(known.read(), other.fetch_one("select 1"))
        after = connections_of(own_mariadb)
        assert len(after) == 2
        assert not before & after
        await asyncio.gather(known.read(), other.fetch_one("select 1"))
        assert connections_of(own_mariadb) == after, "there may be no other server: not at each reading"
        known = Revocations(reader, interval=0.01, lifetime=300, beside=other)
        for _ in range(3):
            after = connections_of(own_mariadb)
            await asyncio.sleep(0.02)
            await asyncio.gather(known.read(), other.fetch_one("select 1"))
            await known.read()
            assert len(after & connections_of(own_mariadb)) < 2, "the address may lead to another by now"


async def test_a_service_leaves_it_with_all_its_connections(own_mariadb: LocalDatabase, start: StartClient) -> None:
    """Those of requests too, which might only read."""
    async with start(database=DatabaseAddress.from_url(own_mariadb.url)) as client:
        credentials = {"username": "ada", "password": PASSWORD}
        await client.post("/auth/signup", json=credentials)
        await client.post("/auth/login", json=credentials)
        before = connections_of(own_mariadb)
        assert len(before) >= 2
        as_root(own_mariadb, "set global read_only = 1")
        async with asyncio.timeout(20):
            while before & connections_of(own_mariadb):
                await asyncio.sleep(0.1)


async def test_an_end_is_told_for_as_long_as_access_tokens_live_whoever_made_it(
    mariadb: LocalDatabase, start: StartClient, sql: Cursor, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 26: and a minute, in which a refresh may be under way, or clocks differ."""
    lives = "select timestampdiff(second, created_at, expires_at) from revocations where session_id = %s"
    async with start(jwt_expiry=3600) as client:
        credentials = {"username": new_name(), "password": PASSWORD}
        await client.post("/auth/signup", json=credentials)
        by_user, by_operator = [(await client.post("/auth/login", json=credentials)).json() for _ in range(2)]
        await client.post("/auth/logout", json={"refreshToken": by_user["refreshToken"]})
    await asyncio.to_thread(Administrator(mariadb.url, JWT_EXPIRY="1h").run, "sessions", "revoke", sid(by_operator))
    for pair in (by_user, by_operator):
        sql.execute(lives, sid(pair))
        assert sql.fetchone() == (3660,)


async def test_a_token_of_a_longer_expiry_is_over_where_its_end_would_be_forgotten(
    start: StartClient, name: str
) -> None:
    """REQUIREMENTS 26: while JWT_EXPIRY is raised, or after it was lowered, processes and tokens differ."""
    now = [time.time()]
    began = int(now[0])
    async with (
        start(clock=lambda: now[0], jwt_expiry=3600) as longer,
        start(clock=lambda: now[0], jwt_expiry=300) as shorter,
    ):
        pair = await log_in(longer, name)
        for age, status in ((359, 200), (360, 401), (3599, 401)):
            now[0] = began + age
            assert (await verify(shorter, pair)).status_code == status, age
            assert (await verify(longer, pair)).status_code == 200, age
        assert (await verify(shorter, pair)).json()["code"] == "invalid_token"


async def test_a_service_remembers_an_end_for_as_long_as_its_access_tokens_live(
    start: StartClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUIREMENTS 26: it forgets twice in that time, and none too early."""
    real, ahead = time.monotonic, [0]
    monkeypatch.setattr(time, "monotonic", lambda: real() + ahead[0])
    async with start(jwt_expiry=3600, revocation_interval=0.02) as client:
        pair = await log_in(client, name)
        await client.post("/auth/logout", json={"refreshToken": pair["refreshToken"]})
        for ahead[0] in range(0, 3600, 300):
            await asyncio.sleep(0.05)  # a reading or more
            assert (await verify(client, pair)).status_code == 401, ahead


async def test_what_ended_long_ago_is_forgotten(known: Revocations, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is held for a life of access tokens at least, for two at most."""
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    known.add(["ended"])
    for _ in range(2):
        now[0] += 300 + GRACE - 1
        await known.read()
        assert is_known(known, "ended")
    now[0] += 300 + GRACE
    await known.read()
    await known.read()
    assert not is_known(known, "ended")


async def test_a_service_that_starts_waits_for_a_database_that_is_slow_to_answer(
    mariadb: LocalDatabase, start: StartClient, name: str, settings: Settings
) -> None:
    """Else it would accept tokens of sessions that ended before its start."""
    async with start() as client:
        pair = await log_in(client, name)
        await log_out(client, pair, name)
    async with Proxy(settings.database.port) as network:
        network.freeze()
        asyncio.get_running_loop().call_later(0.8, network.thaw)
        async with start(database=replace(settings.database, port=network.port)) as client:
            assert (await verify(client, pair)).status_code == 401


async def test_without_a_database_verify_goes_on_with_what_was_known(
    own_mariadb: LocalDatabase, start: StartClient, caplog: pytest.LogCaptureFixture
) -> None:
    """And says so once, not at every reading."""
    caplog.set_level(logging.INFO)
    credentials = {"username": "ada", "password": PASSWORD}
    async with start(database=DatabaseAddress.from_url(own_mariadb.url), database_timeout=0.2) as client:
        await client.post("/auth/signup", json=credentials)
        live, ended = await log_in(client, "ada"), await log_in(client, "ada")
        await log_out(client, ended, "ada")
        own_mariadb.stop()
        await wait_for("revocations_unread", caplog)
        await asyncio.sleep(1.2)  # two readings more
        assert (await verify(client, live)).status_code == 200
        assert (await verify(client, ended)).status_code == 401
        own_mariadb.start()
        await wait_for("revocations_read", caplog)
    assert [record.message for record in caplog.records].count("revocations_unread") == 1


async def test_a_maximum_age_makes_verify_refuse_to_guess(own_mariadb: LocalDatabase, start: StartClient) -> None:
    """It fails closed, with a 503: nobody is logged out."""
    address = DatabaseAddress.from_url(own_mariadb.url)
    async with start(database=address, database_timeout=0.2, revocation_max_age=2) as client:
        await client.post("/auth/signup", json={"username": "ada", "password": PASSWORD})
        pair = await log_in(client, "ada")
        own_mariadb.kill()  # in no time: what is known must not be old yet
        assert (await verify(client, pair)).status_code == 200
        answer = await until(client, pair, 503)
        assert answer.json()["code"] == "revocations_stale"
        assert answer.headers["Retry-After"] == "1"
        own_mariadb.start()
        await until(client, pair, 200)


async def test_how_old_the_knowledge_is(known: Revocations) -> None:
    assert known.age == float("inf")
    await known.read()
    assert 0 <= known.age < 5
    strict = Revocations(known._database, interval=1, lifetime=300, max_age=1)  # the same database
    with pytest.raises(StaleRevocations):
        strict.require_live("any")


async def wait_for(event: str, caplog: pytest.LogCaptureFixture) -> None:
    async with asyncio.timeout(20):
        while event not in [record.message for record in caplog.records]:
            await asyncio.sleep(0.01)


async def until(client: httpx.AsyncClient, pair: Pair, status: int) -> httpx.Response:
    async with asyncio.timeout(20):
        while (answer := await verify(client, pair)).status_code != status:
            await asyncio.sleep(0.01)
    return answer
