"""The table `users`."""

from dataclasses import dataclass, field

from service.database import Database, DuplicateKey, Statements, moment
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


async def replace_password_hash(database: Statements, user: User, new_hash: str) -> bool:
    """Puts the new hash in the place of the one that was read; False, and it stays, if that was changed meanwhile."""
    statement = """
        update users
        set password_hash = %s
        where id = %s
          and password_hash = %s
    """
    return await database.execute(statement, new_hash, user.id, user.password_hash) == 1


async def find(database: Database, user_id: str) -> User | None:
    """The user with this id, or None."""
    statement = """
        select id, username, password_hash
        from users
        where id = %s
    """
    row = await database.fetch_one(statement, user_id)
    return User(*row) if row else None


async def lock(database: Statements, user_id: str) -> User | None:
    """As `find`, and nobody else opens a session of the user or changes the row until the end of the transaction."""
    statement = """
        select id, username, password_hash
        from users
        where id = %s
        for update
    """
    row = await database.fetch_one(statement, user_id)
    return User(*row) if row else None


async def delete(database: Statements, user_id: str) -> None:
    """Deletes the user, whose sessions go too; may be gone already."""
    statement = """
        delete from users
        where id = %s
    """
    await database.execute(statement, user_id)
