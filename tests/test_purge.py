import asyncio

import httpx
import pytest
from pymysql.cursors import Cursor

from service import background
from tests.conftest import StartClient


async def test_expired_sessions_vanish_in_batches_and_live_ones_stay(
    start: StartClient,
    client: httpx.AsyncClient,
    tokens: dict[str, str],
    name: str,
    sql: Cursor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """REQUIREMENTS 31."""
    sql.execute(
        """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        select uuid(), users.id, 0, utc_timestamp(), utc_timestamp() - interval 1 second, utc_timestamp()
        from users, seq_1_to_1200
        where username = %s
        """,
        name,
    )
    assert await count(sql, name) == 1201
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    async with start(), asyncio.timeout(20):
        while await count(sql, name) > 1:
            await asyncio.sleep(0.01)
    answer = await client.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert answer.status_code == 200


async def test_a_database_that_is_away_does_not_end_the_purge(
    start: StartClient, name: str, sql: Cursor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(background, "PURGE_INTERVAL", 0.01)
    sql.execute("lock tables refresh_tokens write")
    async with start(database_timeout=0.1, pool_size=1), asyncio.timeout(20):
        while [record.message for record in caplog.records].count("database_timeout") < 3:
            await asyncio.sleep(0.01)
        sql.execute("unlock tables")
        sql.execute(
            """
            insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
            select uuid(), id, 0, utc_timestamp(), utc_timestamp(), utc_timestamp()
            from users
            where username = %s
            """,
            name,
        )
        while await count(sql, name) > 0:
            await asyncio.sleep(0.01)


async def test_revocations_that_say_nothing_any_more_vanish_in_batches(
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
