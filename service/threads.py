"""Threads for long computations: bounded, and of lower priority than everything else."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from typing import TypeVar

from service.errors import Overloaded

LONGEST_RETRY = 60  # seconds

T = TypeVar("T")


def _lower_priority() -> None:
    # Not SCHED_IDLE: on a busy machine such a thread may keep the GIL, and the event loop, for most of a second.
    if sys.platform == "linux":  # where it is that of the calling thread; elsewhere of the whole process
        with suppress(OSError):
            os.nice(10)


class Threads:
    """`threads` compute at once and `queue` more wait; one beyond that is refused at once."""

    def __init__(self, threads: int, queue: int, waited: Callable[[float], None] | None = None) -> None:
        """`waited` is told, in the event loop, how many seconds each work waited for its thread."""
        self._executor = ThreadPoolExecutor(threads, "low-priority", initializer=_lower_priority)
        self._waited = waited
        self._lock = threading.Lock()
        self._threads = threads
        self._places = threads + queue
        self._taken = 0
        self._turns = (threads + queue) / threads
        self._last_took = 0.0  # seconds

    def require_room(self) -> None:
        """Raises Overloaded, with the time until all that wait now will have been served, when there is no place."""
        if self._taken >= self._places:
            raise Overloaded(retry_after=min(max(1, ceil(self._turns * self._last_took)), LONGEST_RETRY))

    @property
    def load(self) -> tuple[int, int]:
        """How many wait, and how many are computed."""
        taken = self._taken
        running = min(taken, self._threads)
        return taken - running, running

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises Overloaded, and what `work` raises."""
        self.require_room()
        with self._lock:
            self._taken += 1
        future = self._executor.submit(self._timed, work, time.monotonic(), asyncio.get_running_loop())
        # Not in a `finally` here: a caller that goes away leaves its work running, and the place taken.
        future.add_done_callback(lambda _: self._release())
        return await asyncio.wrap_future(future)

    def _timed(self, work: Callable[[], T], submitted: float, loop: asyncio.AbstractEventLoop) -> T:
        started = time.monotonic()
        if self._waited:  # not here, where a lock that it holds could keep the event loop waiting for this thread
            loop.call_soon_threadsafe(self._waited, started - submitted)
        try:
            return work()
        finally:
            self._last_took = time.monotonic() - started

    def _release(self) -> None:
        with self._lock:
            self._taken -= 1

    def close(self) -> None:
        """Drops what waits and waits for what runs."""
        self._executor.shutdown(cancel_futures=True)
