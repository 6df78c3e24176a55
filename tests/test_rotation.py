"""Sessions that are refreshed at once share their statements, and nothing else."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator

import pytest
from pymysql.cursors import Cursor
from uuid_utils.compat import uuid7

from service.database import Database
from service.errors import DatabaseUnavailable
from service.localdb import LocalDatabase, free_port
from service.queries import users
from service.rotation import LARGEST_BATCH, Rotation, Step
from tests.server import claims_of, cursor_on
from tests.test_database import pool
from tests.test_database_faults import as_root

LIFETIME, MAX_AGE = 100, 1000


def rotation_on(database: Database) -> Rotation:
    return Rotation(database, lifetime=LIFETIME, max_age=MAX_AGE, clock=time.time)


@pytest.fixture
async def database(mariadb: LocalDatabase) -> AsyncIterator[Database]:
    async with pool(mariadb.url, size=1, timeout=5) as opened:
        yield opened


@pytest.fixture
def rotation(database: Database) -> Rotation:
    return rotation_on(database)


@pytest.fixture
def user(tokens: dict[str, str]) -> str:
    """The id of a user who exists."""
    return str(claims_of(tokens["token"])["sub"])


def open_session(sql: Cursor, user: str, generation: int = 0) -> Step:
    """A new session, and the step that its live token asks for."""
    step = Step(str(uuid7()), user, generation)
    sql.execute(
        """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        values (%s, %s, %s, utc_timestamp(), utc_timestamp() + interval 50 second, utc_timestamp())
        """,
        step,
    )
    return step


async def status(database: Database, names: str) -> int:
    """The sum of the counters of the only connection."""
    rows = await database.fetch_all("show session status like %s", names)
    return sum(int(row[1]) for row in rows)


async def test_sessions_that_come_together_share_three_statements(
    rotation: Rotation, database: Database, sql: Cursor, user: str
) -> None:
    steps = [open_session(sql, user) for _ in range(LARGEST_BATCH)]
    before = await status(database, "Questions")
    sessions = await asyncio.gather(*map(rotation.advance, steps))
    assert await status(database, "Questions") - before == 3 + 1, "and the one that asks"
    assert [(session.id, session.generation) for session in sessions if session] == [(step[0], 1) for step in steps]
    assert all(session and session.expires_at == session.rotated_at + LIFETIME for session in sessions)


async def test_those_that_were_rotated_before_share_one_statement(
    rotation: Rotation, database: Database, sql: Cursor, user: str
) -> None:
    steps = [open_session(sql, user, generation=1)._replace(generation=0) for _ in range(LARGEST_BATCH)]
    before = await status(database, "Questions")
    sessions = await asyncio.gather(*map(rotation.advance, steps))
    assert await status(database, "Questions") - before == 1 + 1
    assert all(session and session.generation == 1 for session in sessions)


async def test_a_batch_reads_its_own_rows_where_the_server_takes_the_table_to_be_empty(
    own_mariadb: LocalDatabase,
) -> None:
    """As InnoDB's statistics say for a while after a restore."""
    user = str(uuid7())
    with cursor_on(own_mariadb.url) as sql:
        sql.execute("alter table refresh_tokens stats_auto_recalc = 0")
        sql.execute("insert into users values (%s, 'ada', 'ada', 'x', utc_timestamp())", user)
        steps = [open_session(sql, user) for _ in range(1000)]
        sql.execute("alter table users stats_auto_recalc = 0")
        others = [(str(uuid7()), f"user-{number}", f"user-{number}") for number in range(1000)]
        sql.executemany("insert into users values (%s, %s, %s, 'x', utc_timestamp())", others)
    own_mariadb.stop()
    own_mariadb.start()
    async with pool(own_mariadb.url, size=1, timeout=5) as opened:
        rotation = rotation_on(opened)
        for some in (steps[:1], steps[500:530]):
            before = await status(opened, "Handler_read%")
            assert all(await asyncio.gather(*map(rotation.advance, some)))
            assert await status(opened, "Handler_read%") - before < 500, "half of the table"
        before = await status(opened, "Handler_read%")
        assert len(await users.find_by_keys(opened, [key for _, _, key in others[:30]])) == 30
        assert await status(opened, "Handler_read%") - before < 500, "an import, which asks for a thousand"


async def test_more_than_a_batch_holds_are_all_answered(rotation: Rotation, sql: Cursor, user: str) -> None:
    steps = [open_session(sql, user) for _ in range(600)]
    sessions = await asyncio.gather(*map(rotation.advance, steps))
    assert [(session.id, session.generation) for session in sessions if session] == [(step[0], 1) for step in steps]


async def test_an_old_token_that_comes_together_with_its_successor_is_no_theft(
    rotation: Rotation, sql: Cursor, user: str
) -> None:
    live = open_session(sql, user, generation=1)
    old = live._replace(generation=0)
    kept, rotated = await asyncio.gather(rotation.advance(old), rotation.advance(live))
    assert kept
    assert rotated
    assert (kept.generation, rotated.generation) == (1, 2)
    late = await rotation.advance(old)
    assert late
    assert late.generation == 2


async def test_each_of_a_batch_has_its_own_answer(rotation: Rotation, sql: Cursor, user: str) -> None:
    live, restored, expired = (open_session(sql, user) for _ in range(3))
    sql.execute("update refresh_tokens set expires_at = utc_timestamp() where id = %s", expired[0])
    gone, stranger = Step(str(uuid7()), user, 0), live._replace(user_id=str(uuid7()))
    steps = [live, gone, stranger, expired, restored._replace(generation=5)]
    sessions = await asyncio.gather(*map(rotation.advance, steps))
    assert [session and session.generation for session in sessions] == [1, None, None, None, 0]


async def test_a_strangers_step_rotates_nothing(rotation: Rotation, sql: Cursor, user: str) -> None:
    live = open_session(sql, user)
    assert await rotation.advance(live._replace(user_id=str(uuid7()))) is None
    sql.execute("select generation from refresh_tokens where id = %s", live[0])
    assert sql.fetchone() == (0,)


async def test_one_that_leaves_takes_nobody_with_it(rotation: Rotation, sql: Cursor, user: str) -> None:
    steps = [open_session(sql, user) for _ in range(3)]
    waiting = [asyncio.create_task(rotation.advance(step)) for step in steps]
    await asyncio.sleep(0)
    waiting[0].cancel()
    sessions = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(sessions[0], asyncio.CancelledError)
    assert [session.generation for session in sessions if not isinstance(session, BaseException) and session] == [1, 1]


async def test_a_use_that_cannot_be_noted_is_no_reason_to_refuse(
    own_mariadb: LocalDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """The last use is a courtesy to the user; here the account of the service may read only."""
    user, session = str(uuid7()), str(uuid7())
    with cursor_on(own_mariadb.url) as sql:
        sql.execute("insert into users values (%s, 'ada', 'ada', 'x', utc_timestamp())", user)
        sql.execute(
            """
            insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
            values (%s, %s, 1, '2026-01-01', utc_timestamp() + interval 1 day, utc_timestamp())
            """,
            (session, user),
        )
    as_root(own_mariadb, "revoke update on auth.* from auth@127.0.0.1")
    async with pool(own_mariadb.url) as database:
        found = await rotation_on(database).advance(Step(session, user, 0))
    assert found
    assert found.generation == 1
    assert "database_error" in caplog.messages


async def test_when_the_database_is_away_each_is_refused_and_nothing_is_kept(
    mariadb: LocalDatabase, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool(mariadb.url, port=free_port()) as away:
        rotation = rotation_on(away)
        for _ in range(20):
            refusals = await asyncio.gather(
                *(rotation.advance(Step(str(uuid7()), user, 0)) for _ in range(3)), return_exceptions=True
            )
            assert [type(refusal) for refusal in refusals] == [DatabaseUnavailable] * 3
        del refusals
        left = asyncio.create_task(rotation.advance(Step(str(uuid7()), user, 0)))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        del left
        gc.collect()
        assert sum(isinstance(thing, asyncio.Task) for thing in gc.get_objects()) < 5
    assert {record.name for record in caplog.records} == {"service.database"}, "and nothing of asyncio's"
