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

    def __init__(self, threads: int, queue: int) -> None:
        self._executor = ThreadPoolExecutor(threads, "low-priority", initializer=_lower_priority)
        self._places = threading.BoundedSemaphore(threads + queue)
        self._turns = (threads + queue) / threads
        self._last_took = 0.0  # seconds

    def require_room(self) -> None:
        """Raises Overloaded, with the time until all that wait now will have been served, when there is no place."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(retry_after=min(max(1, ceil(self._turns * self._last_took)), LONGEST_RETRY))
        self._places.release()

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns. Raises Overloaded, and what `work` raises."""
        self.require_room()
        self._places.acquire()
        future = self._executor.submit(self._timed, work)
        # Not in a `finally` here: a caller that goes away leaves its work running, and the place taken.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _timed(self, work: Callable[[], T]) -> T:
        started = time.monotonic()
        try:
            return work()
        finally:
            self._last_took = time.monotonic() - started

    def close(self) -> None:
        """Drops what waits and waits for what runs."""
        self._executor.shutdown(cancel_futures=True)
