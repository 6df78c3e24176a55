"""Hashing passwords in threads of its own: bounded, and of lower priority than everything else."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, ParamSpec, TypeVar

from passlib.context import CryptContext

from service.errors import InvalidPassword, Overloaded

MAX_BYTES = 72  # bcrypt reads no further

P = ParamSpec("P")
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


def _lower_priority() -> None:
    if sys.platform == "linux":  # where it is that of the calling thread; elsewhere of the whole process
        with suppress(OSError):
            os.nice(10)


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
        self._threads = ThreadPoolExecutor(threads, "hash", initializer=_lower_priority)
        self._places = threading.BoundedSemaphore(threads + queue)

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
        if not self._places.acquire(blocking=False):
            raise Overloaded
        self._places.release()

    async def hash(self, password: str) -> str:
        """The salted hash of an acceptable password. Raises InvalidPassword, Overloaded."""
        self.check(password)
        return await self._in_thread(self._context.hash, password)

    async def verify(self, password: str, stored_hash: str | None) -> Verdict:
        """Compares with a stored hash; no hash, or one that can't be read, costs the same and never matches.

        Raises Overloaded.
        """
        return await self._in_thread(self._compare, password, stored_hash)

    def _compare(self, password: str, stored_hash: str | None) -> Verdict:
        if stored_hash is not None and _is_hashable(password):
            try:
                return Verdict(*self._context.verify_and_update(password, stored_hash))
            except ValueError:
                log.warning("password_hash_unusable")
        self._context.verify("", self._decoy)
        return Verdict(False, None)

    async def _in_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if not self._places.acquire(blocking=False):
            raise Overloaded
        future = self._threads.submit(work, *args, **kwargs)
        # Not in a `finally` here: a caller that goes away leaves its hash running, and the place taken.
        future.add_done_callback(lambda _: self._places.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drops what waits and waits for what runs."""
        self._threads.shutdown(cancel_futures=True)
