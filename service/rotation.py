"""Rotation of refresh tokens for many at once: while one batch is at the database, the next one gathers."""

import asyncio
from collections.abc import Callable, Collection
from contextlib import suppress
from contextvars import Context
from typing import NamedTuple

from service.database import Database
from service.errors import Unavailable
from service.queries import refresh_tokens
from service.queries.refresh_tokens import Session

LARGEST_BATCH = 100  # answered in one turn of the event loop; verify waits meanwhile
USE_INTERVAL = 3600  # seconds; how exactly it is known when a session that stays was used last
PATIENCE = 0.02  # seconds for the batch before: one that meets a locked row does not hold up everybody


class Step(NamedTuple):
    """What a refresh token asks for: that this session of this user be taken past this generation."""

    session_id: str
    user_id: str
    generation: int


Answer = dict[Step, Session | None] | type[Unavailable]


class Rotation:
    """Takes sessions from one generation to the next. Times and durations are seconds.

    A rotation lets a session live for another `lifetime`, at most until `max_age` after its login.
    """

    def __init__(self, database: Database, *, lifetime: int, max_age: int, clock: Callable[[], float]) -> None:
        self._database = database
        self._lifetime = lifetime
        self._max_age = max_age
        self._clock = clock
        self._gathering: set[Step] = set()
        self._latest: asyncio.Task[Answer] | None = None

    async def advance(self, step: Step) -> Session | None:
        """The session as it is past the step's generation, whoever took it there; None if it has ended.

        Where it was past it before, nothing is written. It is read after the call, never before. Raises Unavailable.
        """
        if self._latest is None or not self._gathering or len(self._gathering) == LARGEST_BATCH:
            self._gathering = {step}
            # What the batch logs belongs to many requests, and not to the one that happened to be its first.
            self._latest = asyncio.create_task(self._serve(self._gathering, self._latest), context=Context())
        self._gathering.add(step)
        answer = await asyncio.shield(self._latest)
        if isinstance(answer, type):
            raise answer
        return answer[step]

    async def _serve(self, batch: set[Step], before: asyncio.Task[Answer] | None) -> Answer:
        if before is not None:
            await asyncio.wait([before], timeout=PATIENCE)
        if self._gathering is batch:
            self._gathering = set()
        try:
            return await self.advance_all(batch)
        except Unavailable as error:
            return type(error)  # an exception that many raise would hold the frames of all of them

    async def find(self, step: Step) -> Session | None:
        """The session as it is; None if it has ended. Raises Unavailable."""
        return (await self._read([step], int(self._clock())))[step]

    async def advance_all(self, steps: Collection[Step]) -> dict[Step, Session | None]:
        """Each step's session past its generation, in one statement, in three where one rotates. Raises Unavailable.

        And one more where somebody stays who has not been seen for an hour.
        """
        now = int(self._clock())
        found = await self._read(steps, now)
        due = {step for step in steps if (session := found[step]) and session.generation == step.generation}
        if due:
            generations = {(step.session_id, step.generation) for step in due}
            await refresh_tokens.rotate(
                self._database, generations, now=now, lifetime=self._lifetime, max_age=self._max_age
            )
            # The others keep what was read first: an old token that came together with its successor came in time.
            found |= await self._read(due, now)
        seen = {session.id for session in found.values() if session and session.last_used_at <= now - USE_INTERVAL}
        if seen:
            with suppress(Unavailable):  # no reason to refuse anybody
                await refresh_tokens.note_use(self._database, seen, now)
        return found

    async def _read(self, steps: Collection[Step], now: int) -> dict[Step, Session | None]:
        ids = {step.session_id for step in steps}
        sessions = await refresh_tokens.find(self._database, ids, max_age=self._max_age)
        live = {(session.id, session.user_id): session for session in sessions if session.expires_at > now}
        return {step: live.get(step[:2]) for step in steps}
