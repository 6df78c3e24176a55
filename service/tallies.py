"""Counts that begin anew after a while, in memory or in a Redis that processes share; by the clock of the system."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from math import ceil
from typing import Any, NamedTuple, TypeVar

from limits import RateLimitItemPerSecond
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from redis.exceptions import ResponseError

from service.errors import Overloaded
from service.ratelimits import Limit

TIMEOUT = 0.25  # seconds
SLICES = 25  # of TIMEOUT, each of which the event loop may be late for: to connect takes some ten turns of it
RETRY_INTERVAL = 1  # seconds
SWEEP_INTERVAL = 10  # seconds
LONGEST_WAIT = 1  # seconds
CONNECTIONS = 8

log = logging.getLogger(__name__)
T = TypeVar("T")


class Tally(NamedTuple):
    """How many are left until the limit, and how many whole seconds until it begins anew."""

    left: int
    seconds: int


class Tallies:
    """Counts by subject, under their hashes: the storage has no list of who logs in from where.

    It fails open: while the storage at `url` can't be asked, nothing has been counted. Nobody waits for its answer for
    longer than TIMEOUT, and then nobody at all for RETRY_INTERVAL; before that, each waits for one of CONNECTIONS,
    and who asks what is left, for LONGEST_WAIT.
    """

    def __init__(self, url: str | None) -> None:
        # Any error here makes the client ask once more after its own, such as that of a connection that Redis closed
        # as idle. What was counted and not heard of is counted twice then.
        more: dict[str, Any] = {"max_connections": CONNECTIONS, "retry_on_error": [ConnectionError]}
        self._storage = (
            RedisStorage(url, wrap_exceptions=True, implementation="redispy", **more) if url else MemoryStorage()
        )
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._connections = asyncio.Semaphore(CONNECTIONS)  # waiting for one is no fault of the storage
        self.is_down = False  # whether, as the log said, nothing is counted
        self._is_silent = False
        self._next_try = 0.0

    async def read(self, limit: Limit, subject: str) -> Tally:
        """What is left for a subject. Raises Overloaded where too many ask."""
        item, key = _keyed(limit, subject)
        stats = await self._ask(lambda: self._limiter.get_window_stats(item, key), reads=True)
        if stats is None:
            return Tally(limit.amount, 0)
        seconds = ceil(stats.reset_time - time.time())
        if seconds > limit.seconds:  # counted while the clock was ahead
            await self.forget(limit, subject)
            return Tally(limit.amount, 0)
        return Tally(stats.remaining, seconds)

    async def add(self, limit: Limit, subject: str) -> None:
        """Counts one; the first begins the time after which all are forgotten."""
        item, key = _keyed(limit, subject)
        last_sweep = self._storage.timer if isinstance(self._storage, MemoryStorage) else None
        await self._ask(lambda: self._limiter.hit(item, key), counts=True)
        if isinstance(self._storage, MemoryStorage) and self._storage.timer is not last_sweep:
            # It looks at every key for those that are over, at each count unless the last look is still under way.
            self._storage.timer = asyncio.create_task(_prolong(self._storage.timer))

    async def forget(self, limit: Limit, subject: str) -> None:
        """Begins anew."""
        item, key = _keyed(limit, subject)
        await self._ask(lambda: self._limiter.clear(item, key))

    async def _ask(
        self, question: Callable[[], Awaitable[T]], *, counts: bool = False, reads: bool = False
    ) -> T | None:
        try:
            async with asyncio.timeout(LONGEST_WAIT if reads else None):
                await self._connections.acquire()
        except TimeoutError:
            raise Overloaded from None
        try:
            now = time.monotonic()
            if self._is_silent and now < self._next_try:
                return None
            self._next_try = now + RETRY_INTERVAL  # so that one alone tries it, while others go on
            try:
                answer = await (_in_time(question()) if isinstance(self._storage, RedisStorage) else question())
            except (StorageError, OSError) as error:
                # One that only counts no more, as where it is full or read-only, still says what it counted.
                self._is_silent = reads or not isinstance(error.__cause__, ResponseError)
                self._note_failure(str(error.__cause__ or error) or type(error).__name__)
                return None
            self._is_silent = False
            if counts and self.is_down:
                log.info("rate_limit_storage_available")
                self.is_down = False
            return answer
        finally:
            self._connections.release()

    def _note_failure(self, problem: str) -> None:
        self._next_try = time.monotonic() + RETRY_INTERVAL
        if not self.is_down:
            log.warning("rate_limit_storage_unavailable", extra={"problem": problem})
        self.is_down = True

    async def close(self) -> None:
        """Closes the connections to the storage."""
        if isinstance(self._storage, RedisStorage):
            await self._storage.bridge.get_connection().aclose()  # type: ignore[attr-defined]  # of the bridge to redispy
        elif self._storage.timer:
            self._storage.timer.cancel()


async def _in_time(question: Awaitable[T]) -> T:
    """Its answer. Raises TimeoutError where there is none for TIMEOUT, and not because the event loop was late."""
    task = asyncio.ensure_future(question)
    try:
        for _ in range(SLICES):
            if (await asyncio.wait({task}, timeout=TIMEOUT / SLICES))[0]:
                return task.result()
        raise TimeoutError
    finally:
        if task.cancel():
            await asyncio.gather(task, return_exceptions=True)  # until its connection is free


async def _prolong(sweep: asyncio.Task[None] | None) -> None:
    if sweep:
        await sweep
    await asyncio.sleep(SWEEP_INTERVAL)


def _keyed(limit: Limit, subject: str) -> tuple[RateLimitItemPerSecond, str]:
    """Another limit has counts of its own."""
    return RateLimitItemPerSecond(limit.amount, limit.seconds), sha256(subject.encode()).hexdigest()[:32]
