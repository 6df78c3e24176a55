"""The table `users`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from service.database import Database, DuplicateKey, Statements, moment
from service.errors import UsernameTaken


@dataclass(frozen=True, slots=True)
class User:
    """An account; `username` as its owner wrote it."""

    id: str
    username: str
    password_hash: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ListedUser:
    """An account as an administrator sees it; made at `created_at`, seconds since 1970."""

    id: str
    username: str
    created_at: int


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


async def insert_many(database: Database, users: Iterable[tuple[User, str, int]]) -> None:
    """As `insert` for each of the users, one at least; those whose name is taken are passed over."""
    statement = """
        insert into users (id, username, username_key, password_hash, created_at)
        values (%s, %s, %s, %s, %s)
        on duplicate key update id = users.id
    """
    rows = [
        (user.id, user.username, username_key, user.password_hash, moment(created_at))
        for user, username_key, created_at in users
    ]
    await database.insert_many(statement, rows)


async def find_by_keys(database: Database, username_keys: Iterable[str]) -> dict[str, User]:
    """The users with these keys, one at least, by their keys."""
    statement = """
        select username_key, id, username, password_hash
        from users force index (users_username_key)
        where username_key in %s
    """
    rows = await database.fetch_all(statement, tuple(username_keys))
    return {username_key: User(*columns) for username_key, *columns in rows}


async def find_page(database: Database, after_key: str, limit: int) -> list[ListedUser]:
    """The next `limit` users past a key, in the order of the keys."""
    statement = """
        select id, username, timestampdiff(second, '1970-01-01', created_at)
        from users
        where username_key > %s
        order by username_key
        limit %s
    """
    return [ListedUser(*row) for row in await database.fetch_all(statement, after_key, limit)]
