"""Hashing passwords in threads of its own: bounded, and in time that nothing else wants."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from math import ceil
from typing import NamedTuple, TypeVar

from passlib.context import CryptContext

from service.errors import InvalidPassword, Overloaded

MAX_BYTES = 72  # bcrypt reads no further
LONGEST_RETRY = 60  # seconds

T = TypeVar("T")

log = logging.getLogger(__name__)
# bcrypt 4.1 removed an attribute that passlib 1.7.4 looks for; it copes, but logs a traceback at the first hash.
logging.getLogger("passlib.handlers.bcrypt").setLevel(logging.ERROR)


class Verdict(NamedTuple):
    """`new_hash` is set when a right password's stored hash is cheaper than today's cost."""

    matches: bool
    new_hash: str | None


def _is_hashable(password: str) -> bool:
    return "\0" not in password and len(password.encode("utf-8")) <= MAX_BYTES


def _yield_to_others() -> None:
    # SCHED_IDLE is preempted at once; a thread of low priority (nice) goes on to the end of its slice, 4 ms and more.
    if sys.platform == "linux":
        with suppress(OSError):
            os.sched_setscheduler(threading.get_native_id(), os.SCHED_IDLE, os.sched_param(0))


class Passwords:
    """Checks, hashes and verifies passwords with bcrypt at a cost of 2**`rounds`.

    `threads` hash at once and `queue` more wait; one beyond that is refused at once.
    """

    def __init__(
        self, *, rounds: int, threads: int, queue: int, min_length: int = 8, blocklist: frozenset[str] = frozenset()
    ) -> None:
        self._min_length = min_length
        self._blocklist = blocklist
        self._context = CryptContext(schemes=["bcrypt"], bcrypt__default_rounds=rounds, bcrypt__min_rounds=rounds)
        # Well formed, of today's cost, and nobody's: what an unknown user's password is compared with.
        self._decoy = f"$2b${rounds:02}${'.' * 53}"
        self._threads = ThreadPoolExecutor(threads, "hash", initializer=_yield_to_others)
        self._places = threading.BoundedSemaphore(threads + queue)
        self._rounds_of_work = (threads + queue) / threads
        self._seconds_a_hash = 0.0

    def check(self, password: str) -> None:
        """Accepts a new password or raises InvalidPassword with the reason (NIST SP 800-63B §3.1.1.2)."""
        if len(password) < self._min_length:
            raise InvalidPassword(f"A password has at least {self._min_length} characters.")
        if not _is_hashable(password):
            raise InvalidPassword(f"A password has at most {MAX_BYTES} bytes of UTF-8, none of them NUL.")
        if password in self._blocklist:
            raise InvalidPassword("This password is among the most common ones; choose another.")

    def require_room(self) -> None:
        """Raises Overloaded when nothing more can be hashed now: before other work is done for nothing."""
        self._take_place()
        self._places.release()

    async def hash(self, password: str) -> str:
        """The salted hash of an acceptable password. Raises InvalidPassword, Overloaded."""
        self.check(password)
        return await self._in_thread(lambda: self._context.hash(password))

    async def verify(self, password: str, stored_hash: str | None) -> Verdict:
        """Compares with a stored hash; no hash, or one that can't be read, costs the same and never matches.

        Raises Overloaded.
        """
        return await self._in_thread(lambda: self._compare(password, stored_hash))

    def _compare(self, password: str, stored_hash: str | None) -> Verdict:
        if stored_hash is not None and _is_hashable(password):
            try:
                return Verdict(*self._context.verify_and_update(password, stored_hash))
            except ValueError:
                log.warning("password_hash_unusable")
        self._context.verify("", self._decoy)
        return Verdict(False, None)

    def _take_place(self) -> None:
        if not self._places.acquire(blocking=False):
            # Whoever comes when all that wait now have been served finds a place; who comes sooner is refused again.
            seconds = ceil(self._rounds_of_work * self._seconds_a_hash)
            raise Overloaded(retry_after=min(max(1, seconds), LONGEST_RETRY))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        self._take_place()
        future = self._threads.submit(self._timed, work)
        # Not in a `finally` here: a caller that goes away leaves its hash running, and the place taken.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def _timed(self, work: Callable[[], T]) -> T:
        started = time.monotonic()
        try:
            return work()
        finally:
            self._seconds_a_hash = time.monotonic() - started

    def close(self) -> None:
        """Drops what waits and waits for what runs."""
        self._threads.shutdown(cancel_futures=True)
