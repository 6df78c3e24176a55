"""Which passwords are acceptable, and hashing them."""

import logging
from collections.abc import Callable
from typing import NamedTuple

from passlib.context import CryptContext

from service.errors import InvalidPassword
from service.threads import Threads

MAX_BYTES = 72  # bcrypt reads no further

log = logging.getLogger(__name__)
# bcrypt 4.1 removed an attribute that passlib 1.7.4 looks for; it copes, but logs a traceback at the first hash.
logging.getLogger("passlib.handlers.bcrypt").setLevel(logging.ERROR)


class Verdict(NamedTuple):
    """`new_hash` is set when a right password's stored hash is cheaper than today's cost."""

    matches: bool
    new_hash: str | None


def _is_hashable(password: str) -> bool:
    return "\0" not in password and len(password.encode("utf-8")) <= MAX_BYTES


class Passwords:
    """Checks, hashes and verifies passwords with bcrypt at a cost of 2**`rounds`.

    `threads` hash at once and `queue` more wait; `waited` is told for how many seconds.
    """

    def __init__(
        self,
        *,
        rounds: int,
        threads: int,
        queue: int,
        min_length: int = 8,
        blocklist: frozenset[str] = frozenset(),
        waited: Callable[[float], None] | None = None,
    ) -> None:
        self._threads = Threads(threads, queue, waited)
        self._min_length = min_length
        self._blocklist = blocklist
        self._context = CryptContext(schemes=["bcrypt"], bcrypt__default_rounds=rounds, bcrypt__min_rounds=rounds)
        # Well formed, of today's cost, and nobody's: what an unknown user's password is compared with.
        self._decoy = f"$2b${rounds:02}${'.' * 53}"

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
        self._threads.require_room()

    async def hash(self, password: str) -> str:
        """The salted hash of an acceptable password. Raises InvalidPassword, Overloaded."""
        self.check(password)
        return await self._threads.run(lambda: self._context.hash(password))

    async def verify(self, password: str, stored_hash: str | None) -> Verdict:
        """Compares with a stored hash; no hash, or one that can't be read, costs the same and never matches.

        Raises Overloaded.
        """
        return await self._threads.run(lambda: self._compare(password, stored_hash))

    @property
    def load(self) -> tuple[int, int]:
        """How many hashes wait, and how many are computed."""
        return self._threads.load

    def _compare(self, password: str, stored_hash: str | None) -> Verdict:
        if stored_hash is not None and _is_hashable(password):
            try:
                return Verdict(*self._context.verify_and_update(password, stored_hash))
            except ValueError:
                log.warning("password_hash_unusable")
        self._context.verify("", self._decoy)
        return Verdict(False, None)

    def close(self) -> None:
        """Drops the hashes that wait and waits for those that run."""
        self._threads.close()
