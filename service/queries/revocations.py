"""The table `revocations`: one row a session that was ended before its access tokens expired."""

from collections.abc import Iterable
from typing import NamedTuple

from service.database import Statements


class Revocation(NamedTuple):
    """That a session has ended; `id` follows the order of the ends, nearly."""

    id: int
    session_id: str


async def insert(database: Statements, session_ids: Iterable[str], lifetime: int) -> None:
    """Notes for `lifetime` seconds that the sessions, one at least and still there, have ended."""
    statement = """
        insert into revocations (session_id, created_at, expires_at)
        select id, utc_timestamp(6), utc_timestamp(6) + interval %s second
        from refresh_tokens force index (primary)
        where id in %s
    """
    await database.execute(statement, lifetime, tuple(session_ids))


class Summary(NamedTuple):
    """The last id of all, 0 if there is none; of some rows, how many they are and the sum of their sessions' CRC-32.

    `is_read_only` says that the server is one which takes no writes.
    """

    last_id: int
    rows: int
    checksum: int
    is_read_only: bool


async def sum_up(database: Statements, first_id: int, last_id: int) -> Summary:
    """Of the rows past `first_id` and not past `last_id`."""
    statement = """
        select (select coalesce(max(id), 0) from revocations),
               count(*),
               coalesce(sum(crc32(session_id)), 0),
               @@global.read_only
        from revocations
        where id > %s
          and id <= %s
    """
    row = await database.fetch_one(statement, first_id, last_id)
    assert row is not None
    return Summary(int(row[0]), int(row[1]), int(row[2]), row[3] not in {0, "OFF"})


async def find_after(database: Statements, last_id: int, limit: int) -> list[Revocation]:
    """The next `limit` rows past `last_id`, in the order of their ids."""
    statement = """
        select id, session_id
        from revocations
        where id > %s
        order by id
        limit %s
    """
    return [Revocation(*row) for row in await database.fetch_all(statement, last_id, limit)]


async def find_last_before(database: Statements, seconds: int) -> int:
    """The last id among the rows that are older than so many seconds; 0 if there is none."""
    statement = """
        select id
        from revocations
        where created_at <= utc_timestamp(6) - interval %s second
        order by id desc
        limit 1
    """
    row = await database.fetch_one(statement, seconds)
    return int(row[0]) if row else 0


async def delete_expired(database: Statements, limit: int) -> int:
    """Deletes up to `limit` rows that say nothing any more; returns how many."""
    statement = """
        delete from revocations
        where expires_at <= utc_timestamp(6)
        limit %s
    """
    return await database.execute(statement, limit)
