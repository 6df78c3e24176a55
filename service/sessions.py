"""The life of a session but for its rotation: opened by a login, seen by its user, ended by many roads."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from uuid_utils.compat import uuid7

from service.database import Database, Statements
from service.queries import refresh_tokens, revocations, users
from service.queries.refresh_tokens import OpenSession, Session
from service.queries.users import User
from service.revocations import Revocations

BATCH = 500  # sessions in one statement
PAUSE = 0.1  # seconds after a batch of the purge: others have the database too

Also = Callable[[Statements, User | None], Awaitable[None]]


class Purged(NamedTuple):
    """How many rows a batch of the purge deleted."""

    sessions: int
    revocations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """Opens, lists and ends sessions. What is ended here ends its access tokens too, and that before it is answered.

    A session lives for `lifetime` seconds, at most `max_age`, without a rotation; a user has at most `limit`. Whatever
    needs the database raises Unavailable when it can't be had.
    """

    database: Database
    revocations: Revocations
    lifetime: int
    max_age: int
    limit: int
    clock: Callable[[], float]

    async def open(self, user: User, *, user_agent: str | None, ip: str | None) -> Session | None:
        """A new session; the one used least recently past the limit ends.

        None if the user is gone, or has another password hash than the one that was compared.
        """
        now = int(self.clock())
        session = Session(
            id=str(uuid7()),
            user_id=user.id,
            username=user.username,
            generation=0,
            rotated_at=now,
            expires_at=now + min(self.lifetime, self.max_age),
            last_used_at=now,
        )
        said = {"user_agent": user_agent, "ip": ip}
        if not await refresh_tokens.insert(self.database, session, password_hash=user.password_hash, **said):
            return None
        # All logins at once see one order, and so end the same ones: none spares its own.
        if surplus := (await self.of_user(user.id))[self.limit :]:
            await self.end(user.id, [other.id for other in surplus])
        return session

    async def of_user(self, user_id: str) -> list[OpenSession]:
        """The user's live sessions, the one used last first; of very many, those used last."""
        now, limit = int(self.clock()), self.limit + BATCH
        return await refresh_tokens.find_of_user(self.database, user_id, now=now, max_age=self.max_age, limit=limit)

    async def end(self, user_id: str, session_ids: list[str]) -> int:
        """Ends those of the sessions that are the user's; returns how many, since some may be gone already."""

        async def work(transaction: Statements) -> list[str]:
            return await self._delete(transaction, await refresh_tokens.lock(transaction, user_id, session_ids))

        return await self._transact(work)

    async def end_all(self, user_id: str, *, spare: str | None = None, also: Also | None = None) -> int:
        """Ends all of the user's sessions but the one to spare, and what is `also` to be done: together or not at all.

        Of more than a BATCH, the rest ends before that. Returns how many. Raises what `also` raises.
        """
        complete = False

        async def work(transaction: Statements) -> list[str]:
            nonlocal complete
            user = await users.lock(transaction, user_id)  # no login opens another one meanwhile
            # Those that have expired too: the last access token of one may still be valid. And not read before, since
            # MariaDB, from 11.6 on, locks nothing that was changed after a transaction's first reading.
            locked = await refresh_tokens.lock_of_user(transaction, user_id, BATCH)
            ended = await self._delete(transaction, [session_id for session_id in locked if session_id != spare])
            complete = len(locked) < BATCH
            if also is not None and complete:
                await also(transaction, user)
            return ended

        count = 0
        while not complete:
            count += await self._transact(work)
        return count

    async def purge(self) -> AsyncIterator[Purged]:
        """Deletes what has expired, a batch at a time, until one is not full."""
        while True:
            # While an access token of an expired session may be valid, it can be ended, and others must hear of that.
            until = int(self.clock()) - self.revocations.lifetime
            gone = await refresh_tokens.delete_expired(self.database, until, BATCH)
            batch = Purged(gone, await revocations.delete_expired(self.database, BATCH))
            yield batch
            if BATCH not in batch:
                break
            await asyncio.sleep(PAUSE)

    async def _delete(self, transaction: Statements, locked: list[str]) -> list[str]:
        if locked:
            await self.revocations.record(transaction, locked)
            await refresh_tokens.delete(transaction, locked)
        return locked

    async def _transact(self, work: Callable[[Statements], Awaitable[list[str]]]) -> int:
        ended: set[str] = set()  # over all attempts: one may have been committed though nobody heard of it

        async def noting(transaction: Statements) -> None:
            ended.update(await work(transaction))

        await self.database.transact(noting)
        self.revocations.add(ended)
        return len(ended)
