"""The table `users`."""

from dataclasses import dataclass, field

from service.database import Database, DuplicateKey, moment
from service.errors import UsernameTaken


@dataclass(frozen=True, slots=True)
class User:
    """An account; `username` as its owner wrote it."""

    id: str
    username: str
    password_hash: str = field(repr=False)


async def insert(database: Database, user: User, username_key: str, created_at: int) -> None:
    """Stores a new user, made at `created_at` seconds; the unique index decides. Raises UsernameTaken."""
    statement = """
        insert into users (id, username, username_key, password_hash, created_at)
        values (%s, %s, %s, %s, %s)
    """
    try:
        values = (user.id, user.username, username_key, user.password_hash, moment(created_at))
        await database.execute(statement, *values)
    except DuplicateKey:
        # A lost connection makes the insert run twice: then the row in the way is this one.
        if await find_by_key(database, username_key) != user:
            raise UsernameTaken from None


async def find_by_key(database: Database, username_key: str) -> User | None:
    """The user with this key, or None."""
    statement = """
        select id, username, password_hash
        from users
        where username_key = %s
    """
    row = await database.fetch_one(statement, username_key)
    return User(*row) if row else None


async def replace_password_hash(database: Database, user: User, new_hash: str) -> None:
    """Puts the new hash in the place of the one that was read; a password changed meanwhile stays."""
    statement = """
        update users
        set password_hash = %s
        where id = %s
          and password_hash = %s
    """
    await database.execute(statement, new_hash, user.id, user.password_hash)
