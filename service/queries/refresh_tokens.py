"""The table `refresh_tokens`: one row a login, which is one session."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.database import Database, DuplicateKey, moment

# Look-ups by many ids force the primary key: after a restore InnoDB takes a large table to be nearly empty for a while,
# and MariaDB would read it from end to end.


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its row says, with its user's present name. Times are seconds since 1970."""

    id: str
    user_id: str
    username: str
    generation: int
    rotated_at: int
    expires_at: int


async def insert(database: Database, session: Session) -> bool:
    """Stores a new session, made when it was `rotated_at`; False if its user is gone."""
    statement = """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        select %s, id, %s, %s, %s, %s
        from users
        where id = %s
    """
    now, until = moment(session.rotated_at), moment(session.expires_at)
    try:
        return await database.execute(statement, session.id, session.generation, now, until, now, session.user_id) == 1
    except DuplicateKey:
        return True  # a lost connection made the insert run twice; the id is ours


async def find(database: Database, session_ids: Iterable[str]) -> list[Session]:
    """Those of the sessions, one at least, that exist; they may have expired."""
    statement = """
        select refresh_tokens.id,
               user_id,
               username,
               generation,
               timestampdiff(second, '1970-01-01', rotated_at),
               timestampdiff(second, '1970-01-01', expires_at)
        from refresh_tokens force index (primary)
        join users on users.id = user_id
        where refresh_tokens.id in %s
    """
    return [Session(*row) for row in await database.fetch_all(statement, tuple(session_ids))]


async def rotate(
    database: Database, due: Iterable[tuple[str, int]], *, now: int, expires_at: int, max_age: int
) -> None:
    """Moves each session of `due`, one at least, that is still at the generation beside its id to the next.

    They live until `expires_at`, or until they are `max_age` seconds old.
    """
    statement = """
        update refresh_tokens force index (primary)
        set generation = generation + 1,
            rotated_at = %s,
            expires_at = least(%s, created_at + interval %s second)
        where id in %s
          and (id, generation) in %s
    """
    due = tuple(due)
    session_ids = tuple(session_id for session_id, _ in due)  # MariaDB scans the table for one pair without an id
    values = (moment(now), moment(expires_at), max_age, session_ids, due)
    await database.execute(statement, *values)


async def delete(database: Database, session_id: str, user_id: str) -> None:
    """Ends the user's session; it may be gone already."""
    statement = """
        delete from refresh_tokens
        where id = %s
          and user_id = %s
    """
    await database.execute(statement, session_id, user_id)


async def delete_expired(database: Database, now: int, limit: int) -> int:
    """Deletes up to `limit` expired sessions; returns how many."""
    statement = """
        delete from refresh_tokens
        where expires_at <= %s
        limit %s
    """
    return await database.execute(statement, moment(now), limit)
