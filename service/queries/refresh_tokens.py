"""The table `refresh_tokens`: one row a login, which is one session."""

from dataclasses import dataclass
from datetime import datetime

from service.database import Database, DuplicateKey


@dataclass(frozen=True, slots=True)
class Session:
    """A session as its row says, with its user's present name. Times are UTC."""

    id: str
    user_id: str
    username: str
    generation: int
    rotated_at: datetime
    expires_at: datetime
    created_at: datetime


async def insert(database: Database, session: Session) -> bool:
    """Stores a new session; False if its user is gone."""
    statement = """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        select %s, id, %s, %s, %s, %s
        from users
        where id = %s
    """
    values = (session.id, session.generation, session.rotated_at, session.expires_at, session.created_at)
    try:
        return await database.execute(statement, *values, session.user_id) == 1
    except DuplicateKey:
        return True  # a lost connection made the insert run twice; the id is ours


async def rotate(database: Database, rotated: Session) -> bool:
    """Moves a live session from the generation before to that of `rotated`, with its times.

    A compare-and-swap: False, and nothing done, if the session is gone or at another generation.
    """
    statement = """
        update refresh_tokens
        set generation = %s,
            rotated_at = %s,
            expires_at = %s
        where id = %s
          and generation = %s
          and expires_at > %s
    """
    new = (rotated.generation, rotated.rotated_at, rotated.expires_at)
    old = (rotated.id, rotated.generation - 1, rotated.rotated_at)
    return await database.execute(statement, *new, *old) == 1


async def find_live(database: Database, session_id: str, user_id: str, now: datetime) -> Session | None:
    """The user's session if it has not expired, or None."""
    statement = """
        select refresh_tokens.id, user_id, username, generation, rotated_at, expires_at, refresh_tokens.created_at
        from refresh_tokens
        join users on users.id = user_id
        where refresh_tokens.id = %s
          and user_id = %s
          and expires_at > %s
    """
    row = await database.fetch_one(statement, session_id, user_id, now)
    return Session(*row) if row else None


async def delete(database: Database, session_id: str, user_id: str) -> None:
    """Ends the user's session; it may be gone already."""
    statement = """
        delete from refresh_tokens
        where id = %s
          and user_id = %s
    """
    await database.execute(statement, session_id, user_id)


async def delete_expired(database: Database, now: datetime, limit: int) -> int:
    """Deletes up to `limit` expired sessions; returns how many."""
    statement = """
        delete from refresh_tokens
        where expires_at <= %s
        limit %s
    """
    return await database.execute(statement, now, limit)
