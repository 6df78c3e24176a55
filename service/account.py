"""What a user who is logged in does with sessions and account, without HTTP and without SQL."""

import logging
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from functools import partial

from service import usernames
from service.database import Database, Statements
from service.errors import InvalidCredentials, SessionNotFound, SessionRevoked
from service.passwords import Passwords
from service.queries import users
from service.queries.refresh_tokens import OpenSession
from service.queries.users import User
from service.sessions import Sessions
from service.throttle import Throttle
from service.tokens import AccessClaims

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The use cases; `claims` say whose account it is and which session asks.

    The database is asked anyway, so that session must be alive there: else SessionRevoked. All raise Unavailable too.
    """

    database: Database
    passwords: Passwords
    sessions: Sessions
    throttle: Throttle

    async def list_sessions(self, claims: AccessClaims) -> list[OpenSession]:
        """The user's live sessions, the one used last first."""
        sessions = await self.sessions.of_user(claims.sub)
        if all(session.id != claims.sid for session in sessions):
            raise SessionRevoked
        return sessions

    async def end_session(self, claims: AccessClaims, session_id: str) -> None:
        """Ends one of the user's sessions. Raises SessionNotFound, whether it is another user's or nobody's."""
        if all(session.id != session_id for session in await self.list_sessions(claims)):
            raise SessionNotFound
        await self.sessions.end(claims.sub, [session_id])
        log.info("session_revoked", extra={"username": claims.username, "session": session_id})

    async def end_sessions(self, claims: AccessClaims, *, keep_current: bool) -> int:
        """Ends all of the user's sessions, or all others; returns how many."""
        await self.list_sessions(claims)
        count = await self.sessions.end_all(claims.sub, spare=claims.sid if keep_current else None)
        log.info("sessions_revoked", extra={"username": claims.username, "count": count})
        return count

    async def change_password(self, claims: AccessClaims, current: str, new: str, *, ip: str | None = None) -> None:
        """Puts a new password in the place of the current one, and ends every other session (ASVS 7.4.3).

        Raises InvalidPassword for the new one, InvalidCredentials and TooManyAttempts for the current one.
        """
        self.passwords.check(new)
        for _ in range(2):  # once more where the stored hash was changed, or renewed, while this one was compared
            async with self._attempt(claims, ip):
                user = await self._authenticate(claims, current)
                put = partial(_put, user, await self.passwords.hash(new))
            with suppress(_Outdated):
                await self.sessions.end_all(user.id, spare=claims.sid, also=put)
                log.info("password_changed", extra={"username": user.username})
                return
        raise _wrong_password(claims)

    async def delete(self, claims: AccessClaims, password: str, *, ip: str | None = None) -> None:
        """Deletes the user and all sessions; the name is free again. Raises InvalidCredentials, TooManyAttempts."""
        for _ in range(2):
            async with self._attempt(claims, ip):
                user = await self._authenticate(claims, password)
            with suppress(_Outdated):
                await self.sessions.end_all(user.id, also=partial(_delete, user))
                log.info("account_deleted", extra={"username": user.username})
                return
        raise _wrong_password(claims)

    def _attempt(self, claims: AccessClaims, ip: str | None) -> AbstractAsyncContextManager[None]:
        self.passwords.require_room()
        return self.throttle.guess(usernames.key_of(claims.username), ip)

    async def _authenticate(self, claims: AccessClaims, password: str) -> User:
        await self.list_sessions(claims)
        user = await users.find(self.database, claims.sub)
        matches, _ = await self.passwords.verify(password, user.password_hash if user else None)
        if user is None or not matches:
            raise _wrong_password(claims)
        return user


class _Outdated(Exception):
    """The user has another password hash by now than the one that was compared."""


async def _put(user: User, new_hash: str, transaction: Statements, found: User | None) -> None:
    if found is None or found.password_hash not in {user.password_hash, new_hash}:
        raise _Outdated
    await users.replace_password_hash(transaction, user, new_hash)


async def _delete(user: User, transaction: Statements, found: User | None) -> None:
    if found is not None and found.password_hash != user.password_hash:
        raise _Outdated
    await users.delete(transaction, user.id)


def _wrong_password(claims: AccessClaims) -> InvalidCredentials:
    log.info("password_refused", extra={"username": claims.username, "session": claims.sid})
    return InvalidCredentials("Wrong password.")
