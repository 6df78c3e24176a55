import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from pymysql.cursors import Cursor

from service import background
from service.errors import DatabaseUnavailable
from service.localdb import LocalDatabase
from service.revocations import Revocations
from service.sessions import Sessions
from tests.conftest import PASSWORD, StartClient, add_user
from tests.server import cursor_on
from tests.test_database import pool
from tests.test_sessions import log_in, refresh, sid, verify
from tests.test_verify import bearer

DAY = 86400


def leave_expired(sql: Cursor, name: str, count: int) -> None:
    """Sessions of a user that expired a day ago."""
    sql.execute(
        """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        select uuid(), users.id, 0, utc_timestamp(), utc_timestamp() - interval 1 day, utc_timestamp()
        from users
        join seq_1_to_1200 on seq <= %s
        where username = %s
        """,
        (count, name),
    )


async def test_a_batch_is_of_500_rows(own_mariadb: LocalDatabase) -> None:
    """README: a purge holds nobody up for long."""
    with cursor_on(own_mariadb.url) as sql:
        leave_expired(sql, add_user(sql, "grace"), 1200)
    async with pool(own_mariadb.url) as database:
        revocations = Revocations(database, interval=1, lifetime=300)
        sessions = Sessions(
            database=database, revocations=revocations, lifetime=DAY, max_age=DAY, limit=50, clock=time.time
        )
        sizes = [batch.sessions async for batch in sessions.purge()]
    assert sizes == [500, 500, 200]


@pytest.mark.parametrize("ahead", [0, 400 * DAY])
async def test_expired_sessions_vanish_and_live_ones_stay_though_a_clock_is_ahead(
    start: StartClient,
    client: httpx.AsyncClient,
    tokens: dict[str, str],
    name: str,
    sql: Cursor,
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
) -> None:
    """REQUIREMENTS 31. A machine that was started before its clock was put right would log everybody out."""
    leave_expired(sql, name, 1200)
    assert await count(sql, name) == 1201
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    async with start(clock=lambda: time.time() + ahead), asyncio.timeout(20):
        while await count(sql, name) > 1:
            await asyncio.sleep(0.01)
    answer = await client.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert answer.status_code == 200


async def test_a_database_that_is_away_does_not_end_the_purge(
    start: StartClient, name: str, sql: Cursor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    monkeypatch.setattr(background, "RETRY_INTERVAL", 0.01)
    sql.execute("lock tables refresh_tokens write")
    async with start(database_timeout=0.1, pool_size=1), asyncio.timeout(20):
        while [record.message for record in caplog.records].count("database_timeout") < 3:
            await asyncio.sleep(0.01)
        sql.execute("unlock tables")
        leave_expired(sql, name, 1)
        while await count(sql, name) > 0:
            await asyncio.sleep(0.01)


async def test_a_worker_that_does_not_live_for_long_purges_too(
    start: StartClient, name: str, sql: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that `--limit-max-requests` ends: it does not wait for as long as between two purges."""
    monkeypatch.setattr(background, "PURGE_INTERVAL", 60)
    leave_expired(sql, name, 1)
    async with start(), asyncio.timeout(25):
        while await count(sql, name) > 0:
            await asyncio.sleep(0.1)


async def test_work_that_meets_a_bug_is_begun_again_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else sessions would not be purged any more, or ended ones be heard of, and nobody would notice."""
    monkeypatch.setattr(background, "RETRY_INTERVAL", 0.01)
    failures = iter([ZeroDivisionError("a bug"), DatabaseUnavailable()])

    async def work() -> None:
        for failure in failures:
            raise failure

    await background.persist(work)
    assert [(record.message, record.levelname) for record in caplog.records] == [("background_failure", "ERROR")]
    assert caplog.records[0].exc_info


async def test_an_expired_session_can_be_ended_until_its_last_access_token_has_expired(
    start: StartClient, new_name: Callable[[], str], sql: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """REQUIREMENTS 29: else who deletes an account, or logs out, would leave behind a token that verifies."""
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    now, name = [time.time()], new_name()
    async with start(clock=lambda: now[0], session_max_age=DAY) as client, asyncio.timeout(20):
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        old = await log_in(client, name)
        now[0] += DAY - 1
        last = (await refresh(client, old)).json()
        now[0] += 1
        assert (await refresh(client, last)).json()["code"] == "invalid_token"
        assert (await verify(client, last)).status_code == 200
        new = await log_in(client, name)
        # With the same hand that purges this one, the other would be: it expired before.
        sql.execute("update refresh_tokens set expires_at = created_at - interval 1 day where id = %s", sid(new))
        while await count(sql, name) > 1:
            await asyncio.sleep(0.01)
        current = await log_in(client, name)
        await client.request("DELETE", "/auth/account", json={"password": PASSWORD}, headers=bearer(current["token"]))
        assert (await verify(client, last)).json()["code"] == "session_revoked"


async def test_revocations_that_say_nothing_any_more_vanish(
    start: StartClient, sql: Cursor, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = "select uuid(), utc_timestamp(), utc_timestamp() + interval %s second from seq_1_to_1200"
    for seconds in (-1, 600):
        sql.execute(f"insert into revocations (session_id, created_at, expires_at) {values}", seconds)
    query = "select count(*), sum(expires_at > utc_timestamp()) from revocations"
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    async with start(), asyncio.timeout(20):
        while True:
            await asyncio.to_thread(sql.execute, query)
            [(everything, needed)] = sql.fetchall()
            if everything == needed:
                break
            await asyncio.sleep(0.01)
    assert needed >= 1200


async def count(sql: Cursor, name: str) -> int:
    query = "select count(*) from refresh_tokens join users on users.id = user_id where username = %s"
    await asyncio.to_thread(sql.execute, query, name)
    row = sql.fetchone()
    assert row is not None
    return int(row[0])
