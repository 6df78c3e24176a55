"""Which passwords are acceptable, and hashing them."""

import base64
import hmac
import logging
import re
import warnings
from collections.abc import Callable
from typing import NamedTuple

from passlib.context import CryptContext
from passlib.exc import PasswordValueError
from passlib.hash import argon2, sha512_crypt

from service.errors import InvalidPassword
from service.hashes import WORDPRESS
from service.threads import Threads

MAX_BYTES = 72  # bcrypt reads no further
MAX_FOREIGN_BYTES = 512  # sha512_crypt reads the password in each round: 4,096 bytes would take 10 s at its limit

log = logging.getLogger(__name__)
# bcrypt 4.1 removed an attribute that passlib 1.7.4 looks for; it copes, but logs a traceback at the first hash.
logging.getLogger("passlib.handlers.bcrypt").setLevel(logging.ERROR)
with warnings.catch_warnings():  # passlib asks argon2-cffi for its version in a way that is on its way out
    warnings.simplefilter("ignore", DeprecationWarning)
    argon2.set_backend("argon2_cffi")
# crypt(3) would hold Python's lock, and so the event loop, for as long as it hashes; Python 3.13 has it no more.
sha512_crypt.set_backend("builtin")
_PHPASS = "$P$"  # of WordPress before 6.8; of phpBB it is $H$
# What users may have been imported with, beside bcrypt (service.hashes).
_FOREIGN = ("argon2", "django_pbkdf2_sha256", "pbkdf2_sha256", "pbkdf2_sha512", "sha512_crypt", "phpass")


class Verdict(NamedTuple):
    """`new_hash` is set when a right password's stored hash is cheaper than today's cost, or of another scheme."""

    matches: bool
    new_hash: str | None


def _is_hashable(password: str) -> bool:
    return "\0" not in password and len(password.encode("utf-8")) <= MAX_BYTES


def _is_comparable(password: str, stored_hash: str) -> bool:
    # Other schemes take longer passwords than bcrypt does, which stay under the scheme that they have.
    is_foreign = not stored_hash.startswith("$2")
    return _is_hashable(password) or (is_foreign and len(password.encode("utf-8")) <= MAX_FOREIGN_BYTES)


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
        self._context = CryptContext(
            schemes=["bcrypt", *_FOREIGN], deprecated="auto", bcrypt__default_rounds=rounds, bcrypt__min_rounds=rounds
        )
        self._rounds = rounds

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
        if stored_hash is not None and _is_comparable(password, stored_hash):
            try:
                return self._verify(password, stored_hash)
            except PasswordValueError:  # NUL, for which a scheme has no place
                pass
            except ValueError:
                log.warning("password_hash_unusable")
        self._hash_for_nothing(self._rounds)
        return Verdict(False, None)

    def _hash_for_nothing(self, rounds: int) -> None:
        """Takes as long as a comparison with a hash of that cost."""
        self._context.verify("", f"$2b${rounds:02}${'.' * 53}")  # well formed, and nobody's

    def _verify(self, password: str, stored_hash: str) -> Verdict:
        secrets = _secrets(password, stored_hash)
        plain_hash = stored_hash.removeprefix("$wp")
        if not any(self._context.verify(secret, plain_hash) for secret in secrets):
            if plain_hash.startswith("$2"):
                # 2**4 + (2**4 + 2**5 + … + 2**9) = 2**10, as for an unknown user; two of 2**4 have cost as one of 2**5.
                for rounds in range(int(plain_hash[4:6]) + len(secrets) - 1, self._rounds):
                    self._hash_for_nothing(rounds)
            return Verdict(False, None)
        is_outdated = stored_hash != plain_hash or self._context.needs_update(plain_hash)
        return Verdict(True, self._context.hash(password) if is_outdated and _is_hashable(password) else None)

    def close(self) -> None:
        """Drops the hashes that wait and waits for those that run."""
        self._threads.close()


def _secrets(password: str, stored_hash: str) -> set[str]:
    """What may have been hashed, when this was typed; with bcrypt one or two."""
    if not stored_hash.startswith((WORDPRESS, _PHPASS)):
        return {password}
    trimmed = password.strip(" \t\n\r\v")  # WordPress does, and what a form sent it has gone through addslashes
    spellings = {trimmed, re.sub(r"(['\"\\])", r"\\\1", trimmed)}
    if stored_hash.startswith(WORDPRESS):
        return {_digested(spelling) for spelling in spellings}
    return spellings | {password}  # phpass has other users too


def _digested(password: str) -> str:
    """What WordPress gives to bcrypt, which so reads all of a long password."""
    return base64.b64encode(hmac.digest(b"wp-sha384", password.encode(), "sha384")).decode()
