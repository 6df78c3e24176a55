"""The table `refresh_tokens`: one row a login, which is one session."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.database import Database, DuplicateKey, Statements, moment

# Look-ups by many ids force the primary key: after a restore InnoDB takes a large table to be nearly empty for a while,
# and MariaDB would read it from end to end. MySQL would do so with `users`, and hash them, unless they come second.


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its row says, with its user's present name. Times are seconds since 1970."""

    id: str
    user_id: str
    username: str
    generation: int
    rotated_at: int
    expires_at: int
    last_used_at: int


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its user sees it. Times are seconds since 1970; where it stays, its last use is exact to an hour.

    `user_agent` is what the client said of itself, and `ip` the address it came from, as they were stored.
    """

    id: str
    created_at: int
    last_used_at: int
    user_agent: str | None
    ip: str | None


async def insert(
    database: Database, session: Session, *, password_hash: str, user_agent: str | None, ip: str | None
) -> bool:
    """Stores a new session, made when it was `rotated_at`; False if its user is gone or has another hash by now.

    What the client says of itself is cut to its column: here, since it may be megabytes.
    """
    statement = """
        insert into refresh_tokens
            (id, user_id, generation, rotated_at, expires_at, created_at, last_used_at, user_agent, ip)
        select %s, id, %s, %s, %s, %s, %s, %s, %s
        from users
        where id = %s
          and password_hash = %s
        lock in share mode
    """
    now, until = moment(session.rotated_at), moment(session.expires_at)
    values = (session.id, session.generation, now, until, now, now, user_agent and user_agent[:255], ip)
    try:
        return await database.execute(statement, *values, session.user_id, password_hash) == 1
    except DuplicateKey:
        return True  # a lost connection made the insert run twice; the id is ours


async def find(database: Database, session_ids: Iterable[str], *, max_age: int) -> list[Session]:
    """Those of the sessions, one at least, that exist; they may have expired, `max_age` after their login at last."""
    statement = """
        select t.id,
               user_id,
               username,
               generation,
               timestampdiff(second, '1970-01-01', rotated_at),
               timestampdiff(second, '1970-01-01', least(expires_at, t.created_at + interval %s second)),
               timestampdiff(second, '1970-01-01', greatest(rotated_at, coalesce(last_used_at, rotated_at)))
        from refresh_tokens t force index (primary)
        straight_join users force index (primary) on users.id = user_id
        where t.id in %s
    """
    return [Session(*row) for row in await database.fetch_all(statement, max_age, tuple(session_ids))]


async def find_of_user(database: Database, user_id: str, *, now: int, max_age: int, limit: int) -> list[OpenSession]:
    """Up to `limit` of the user's sessions that `now` are alive and younger than `max_age`, the one used last first."""
    statement = """
        select id,
               timestampdiff(second, '1970-01-01', created_at),
               timestampdiff(second, '1970-01-01', greatest(rotated_at, coalesce(last_used_at, rotated_at))) as used,
               user_agent,
               ip
        from refresh_tokens
        where user_id = %s
          and expires_at > %s
          and created_at > %s
        order by used desc, id desc
        limit %s
    """
    found = await database.fetch_all(statement, user_id, moment(now), moment(now - max_age), limit)
    return [OpenSession(*row) for row in found]


async def rotate(database: Database, due: Iterable[tuple[str, int]], *, now: int, lifetime: int, max_age: int) -> None:
    """Moves each session of `due`, one at least, that is still at the generation beside its id to the next.

    They live for another `lifetime` from `now`, or until they are `max_age` seconds old. A clock that is more than a
    minute behind the database's counts as a minute behind: else it would end what it refreshes.
    """
    statement = """
        update refresh_tokens force index (primary)
        set generation = generation + 1,
            rotated_at = %s,
            last_used_at = %s,
            expires_at = least(
                greatest(%s, utc_timestamp() - interval 1 minute) + interval %s second,
                created_at + interval %s second
            )
        where id in %s
          and (id, generation) in %s
    """
    due = tuple(due)
    session_ids = tuple(session_id for session_id, _ in due)  # MariaDB scans the table for one pair without an id
    await database.execute(statement, *[moment(now)] * 3, lifetime, max_age, session_ids, due)


async def note_use(database: Database, session_ids: Iterable[str], now: int) -> None:
    """Says of the sessions, one at least, that they were used `now`, without a rotation."""
    statement = """
        update refresh_tokens force index (primary)
        set last_used_at = %s
        where id in %s
    """
    await database.execute(statement, moment(now), tuple(session_ids))


async def lock(database: Statements, user_id: str, session_ids: Iterable[str]) -> list[str]:
    """Those of the sessions, one at least, that are the user's; until the end of the transaction they are ours."""
    statement = """
        select id
        from refresh_tokens force index (primary)
        where id in %s
          and user_id = %s
        for update
    """
    return [row[0] for row in await database.fetch_all(statement, tuple(session_ids), user_id)]


async def lock_of_user(database: Statements, user_id: str, limit: int) -> list[str]:
    """Up to `limit` of the user's sessions, expired ones too; until the end of the transaction they are ours."""
    statement = """
        select id
        from refresh_tokens
        where user_id = %s
        limit %s
        for update
    """
    return [row[0] for row in await database.fetch_all(statement, user_id, limit)]


async def delete(database: Statements, session_ids: Iterable[str]) -> None:
    """Deletes the sessions, one at least."""
    statement = "delete from refresh_tokens where id in %s"
    await database.execute(statement, tuple(session_ids))


async def delete_expired(database: Database, now: int, limit: int) -> int:
    """Deletes up to `limit` sessions that have expired `now` and by the database's clock; returns how many."""
    statement = """
        delete from refresh_tokens
        where expires_at <= least(%s, utc_timestamp())
        limit %s
    """
    return await database.execute(statement, moment(now), limit)
