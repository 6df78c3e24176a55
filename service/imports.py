"""Takes over users, with their password hashes, from another service: a batch at a time, and again where it stopped."""

import errno
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from uuid_utils import UUID

from service import hashes, usernames
from service.database import Database
from service.errors import InvalidUsername
from service.hashes import UnusableHash
from service.queries import users
from service.queries.users import User

BATCH = 1000  # users in one statement
_TIME = 14  # characters of an id that say when it was made


class UnusableSource(ValueError):
    """A source as a whole can't be read as what it is said to be."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user as a source has it; `where` says which line or row, `created_at` is seconds since 1970."""

    where: str
    username: str
    password_hash: str
    created_at: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line or row that is not taken over, and why; the reason quotes nothing of it, which may be a password."""

    where: str
    reason: str


@dataclass(slots=True)
class Tally:
    """What became of the lines so far."""

    imported: int = 0
    already_there: int = 0
    refused: int = 0


class Import:
    """One run over a source; `clock` gives seconds since 1970. A `dry_run` says the same, and writes nothing.

    The id of a user who is taken over is a UUIDv7 whose random part follows from name and hash. So another run knows
    those whom it meets again, also when they have logged in meanwhile and have another hash.
    """

    def __init__(self, database: Database, *, dry_run: bool, clock: Callable[[], float]) -> None:
        self.tally = Tally()
        self._database = database
        self._dry_run = dry_run
        self._clock = clock
        self._claims = _Claims()

    def close(self) -> None:
        """Forgets which line has which name."""
        self._claims.close()

    async def take(self, batch: Sequence[Candidate | Refusal]) -> list[Refusal]:
        """Takes over what it can of a batch and returns what it refuses, in the same order. Raises Unavailable."""
        now = self._clock()
        checked = [_checked(line, now) for line in batch]
        accepted = [line for line in checked if isinstance(line, _Accepted)]
        holders = await self._store(accepted) if accepted else {}
        claims = self._claims.find(line.key for line in accepted)
        refusals = []
        for line in checked:
            refusal = line if isinstance(line, Refusal) else self._settle(line, holders, claims)
            if refusal:
                self.tally.refused += 1
                refusals.append(refusal)
        self._claims.keep(claims)
        return refusals

    async def _store(self, accepted: list["_Accepted"]) -> dict[str, User]:
        if not self._dry_run:
            await users.insert_many(self._database, ((line.user, line.key, line.created_at) for line in accepted))
        return await users.find_by_keys(self._database, {line.key for line in accepted})

    def _settle(self, line: "_Accepted", holders: dict[str, User], claims: dict[str, "_Claim"]) -> Refusal | None:
        """Counts it, or says who has the name."""
        user, key = line.user, line.key
        holder, claim = holders.get(key), claims.get(key)
        if claim and claim.identity != user.id[_TIME:]:
            return Refusal(line.where, f"this name is taken by {claim.where}")
        if not claim and holder and user.id[_TIME:] != holder.id[_TIME:] and user.password_hash != holder.password_hash:
            return Refusal(line.where, "this name is taken by a user who exists")
        if claim or (holder and holder.id != user.id):
            self.tally.already_there += 1
        else:
            self.tally.imported += 1
        claims.setdefault(key, _Claim(line.where, user.id[_TIME:]))
        return None


@dataclass(frozen=True, slots=True)
class _Accepted:
    where: str
    user: User
    key: str
    created_at: int


class _Claim(NamedTuple):
    where: str
    identity: str


class _Claims:
    """Which line of this run has which name; on disk, since a source may have any number of them."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("")  # a temporary file, gone with the connection
        self._file.execute("create table claims (key text primary key, place text, identity text) without rowid")

    def close(self) -> None:
        self._file.close()

    def find(self, keys: Iterable[str]) -> dict[str, _Claim]:
        statement = "select key, place, identity from claims where key in (select value from json_each(?))"
        with _errors_of_the_system():
            found = self._file.execute(statement, [msgspec.json.encode(list(keys)).decode()])
            return {key: _Claim(where, identity) for key, where, identity in found}

    def keep(self, claims: dict[str, _Claim]) -> None:
        rows = ((key, *claim) for key, claim in claims.items())
        with _errors_of_the_system(), self._file:
            self._file.executemany("insert or ignore into claims values (?, ?, ?)", rows)


@contextmanager
def _errors_of_the_system() -> Iterator[None]:
    """As of any other file: a disk without room, most likely."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(errno.EIO, str(error), "temporary file") from error


def _checked(line: Candidate | Refusal, now: float) -> _Accepted | Refusal:
    if isinstance(line, Refusal):
        return line
    try:
        username = usernames.parse(line.username)
        hashes.check(line.password_hash)
    except (InvalidUsername, UnusableHash) as error:
        return Refusal(line.where, str(error))
    user = User(_id_of(username.key, line.password_hash, now), username.text, line.password_hash)
    return _Accepted(line.where, user, username.key, int(now) if line.created_at is None else line.created_at)


def _id_of(key: str, password_hash: str, now: float) -> str:
    """A UUIDv7 (RFC 9562 §5.7) whose bits after the time in milliseconds follow from name and hash."""
    digest = int.from_bytes(hashlib.sha256(f"{key}\0{password_hash}".encode()).digest()[:16])
    return str(UUID(int=int(now * 1000) << 80 | digest & ((1 << 80) - 1), version=7))
