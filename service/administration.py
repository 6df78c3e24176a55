"""What an operator does with users and their sessions, without HTTP and without SQL."""

from collections.abc import Callable
from dataclasses import dataclass

from uuid_utils.compat import uuid7

from service import usernames
from service.database import Database, Statements
from service.passwords import Passwords
from service.queries import refresh_tokens, users
from service.queries.refresh_tokens import OpenSession
from service.queries.users import ListedUser, User
from service.sessions import Sessions


class Unknown(LookupError):
    """There is no such user or session; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Administration:
    """The use cases; `clock` gives seconds since 1970. Whatever names a user raises Unknown, and all Unavailable."""

    database: Database
    passwords: Passwords
    sessions: Sessions
    clock: Callable[[], float]

    async def create_user(self, raw_username: str, password: str) -> User:
        """As a signup does. Raises InvalidUsername, InvalidPassword, UsernameTaken."""
        username = usernames.parse(raw_username)
        user = User(str(uuid7()), username.text, await self.passwords.hash(password))
        await users.insert(self.database, user, username.key, int(self.clock()))
        return user

    async def list_users(self, *, after: str | None, limit: int) -> list[ListedUser]:
        """Up to `limit` users in the order of their folded names, past a name. Raises InvalidUsername."""
        key = "" if after is None else usernames.parse(after).key
        return await users.find_page(self.database, key, limit)

    async def set_password(self, user: User, password: str) -> int:
        """Gives the user another password and ends every session; returns how many. Raises InvalidPassword."""
        new_hash = await self.passwords.hash(password)

        async def put(transaction: Statements, found: User | None) -> None:
            if found is None:
                raise _unknown_user(user.username)
            await users.replace_password_hash(transaction, found, new_hash)

        return await self.sessions.end_all(user.id, also=put)

    async def delete_user(self, user: User) -> int:
        """Deletes the user and every session; returns how many of these. The name is free again."""
        return await self.sessions.end_all(user.id, also=lambda transaction, _: users.delete(transaction, user.id))

    async def list_sessions(self, raw_username: str) -> list[OpenSession]:
        """The user's live sessions, the one used last first."""
        user = await self.find(raw_username)
        return await self.sessions.of_user(user.id)

    async def end_session(self, session_id: str) -> None:
        """Ends a session, and so its access tokens."""
        unknown = Unknown(f"there is no session {session_id!r}")
        if not session_id.isascii():  # the database would refuse to compare it
            raise unknown
        found = await refresh_tokens.find(self.database, [session_id], max_age=self.sessions.max_age)
        if not found or not await self.sessions.end(found[0].user_id, [session_id]):
            raise unknown

    async def end_sessions(self, raw_username: str) -> int:
        """Ends all of the user's sessions; returns how many."""
        user = await self.find(raw_username)
        return await self.sessions.end_all(user.id)

    async def find(self, raw_username: str) -> User:
        """The user with this name, folded as at a login."""
        key = usernames.key_of(raw_username)
        user = await users.find_by_key(self.database, key) if key is not None else None
        if user is None:
            raise _unknown_user(raw_username)
        return user


def _unknown_user(raw_username: str) -> Unknown:
    return Unknown(f"there is no user {raw_username!r}")
