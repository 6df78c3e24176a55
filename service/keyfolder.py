"""A folder of private keys, a PEM each, and `ring.json`, which says since when each is what and which one signs."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from service.keys import Key, UnusableKey, private_key

RECORD = "ring.json"
_UNFINISHED = ".unfinished"

# Up to the year 3000: a time that can be shown, and that a lifetime can be added to.
Moment = Annotated[int, msgspec.Meta(ge=0, le=32_503_680_000)]
State = list[tuple[str, int, int, int]]


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a key was made (or first recorded), began to sign and ceased to: seconds since 1970."""

    created: Moment
    activated: Moment | None = None
    superseded: Moment | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What `ring.json` holds: the kid that signs, and an entry for each kid."""

    signing: str | None = None
    keys: dict[str, Entry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a folder was found to hold. `signing` is a kid, `missing` are those that the record names and no PEM has."""

    keys: dict[str, Key]
    files: dict[str, list[Path]]
    entries: dict[str, Entry]
    signing: str | None
    missing: frozenset[str]


class KeyFolder:
    """The files. What they mean for a rotation is `service.keyrotation`'s business."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._loaded: dict[bytes, Key] = {}

    def state(self) -> State:
        """Another one whenever a file was changed, at the price of a look at the folder. Raises UnusableKey."""
        found = []
        with self._refusing_what_is_unreadable(), os.scandir(self.path) as files:
            for file in files:
                if _is_pem(file.name) or file.name == RECORD:
                    stat = file.stat()
                    found.append((file.name, stat.st_ino, stat.st_ctime_ns, stat.st_size))
        return sorted(found)

    def read(self) -> Contents:
        """What there is. Raises UnusableKey when any of it cannot be read."""
        keys: dict[str, Key] = {}
        files: dict[str, list[Path]] = {}
        loaded: dict[bytes, Key] = {}
        with self._refusing_what_is_unreadable():
            record = self._record()
            for path in sorted(path for path in self.path.iterdir() if _is_pem(path.name)):
                if path.is_fifo():
                    raise UnusableKey(f"{path}: it is a pipe, which keeps its readers waiting")
                pem = path.read_bytes()
                # The check of an RSA key takes a tenth of a second, in which no other thread runs: once, also where
                # another file can't be read, and the folder is read again and again.
                key = loaded[pem] = self._loaded[pem] = self._loaded.get(pem) or _key(path, pem)
                assert key.kid, "of a private key"
                keys.setdefault(key.kid, key)
                files.setdefault(key.kid, []).append(path)
        self._loaded = loaded
        entries = record.keys if record else {}
        # A single key needs no record: an operator's own, perhaps on a volume that cannot be written to.
        signing = record.signing if record else next(iter(keys)) if len(keys) == 1 else None
        missing = frozenset({*entries, *([signing] if signing else [])}) - frozenset(keys)
        return Contents(keys=keys, files=files, entries=entries, signing=signing, missing=missing)

    def make(self) -> None:
        """Makes the folder where there is none, for whoever owns the one that it is in."""
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _leave_to(self.path.parent, self.path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other writers out, in this process and in others; readers need no lock. Raises UnusableKey."""
        with self._refusing_what_is_unreadable():
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def write_key(self, kid: str, pem: bytes) -> None:
        """Puts a PEM there, whole or not at all."""
        self._write(f"{kid}.pem", pem)

    def write_record(self, record: Record) -> None:
        """Puts another `ring.json` in the place of the one before, whole or not at all."""
        self._write(RECORD, msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2) + b"\n")

    def _write(self, name: str, data: bytes) -> None:
        unfinished = self.path / _UNFINISHED
        # A stopped command's, maybe root's; or a link that whoever owns the folder put there for root to follow.
        unfinished.unlink(missing_ok=True)
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
            file.flush()
            _leave_to(self.path, file.fileno())
            os.fsync(file.fileno())
        unfinished.rename(self.path / name)
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(descriptor)
        os.close(descriptor)

    def _record(self) -> Record | None:
        try:
            return msgspec.json.decode((self.path / RECORD).read_bytes(), type=Record)
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:  # UTF-8 and msgspec errors are ValueErrors
            raise UnusableKey(f"{self.path / RECORD}: {error}") from None

    @contextmanager
    def _refusing_what_is_unreadable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UnusableKey(f"{error.filename or self.path}: {error.strerror}") from None


def _leave_to(owned: Path, target: Path | int) -> None:
    """What root makes, by mistake most likely: the service reads it as whoever owns the folder."""
    if os.geteuid() == 0:
        owner = owned.stat()
        os.chown(target, owner.st_uid, owner.st_gid)


def _is_pem(name: str) -> bool:
    return name.endswith(".pem") and not name.startswith(".")


def _key(path: Path, pem: bytes) -> Key:
    try:
        return private_key(pem)
    except UnusableKey as error:
        raise UnusableKey(f"{path}: {error}") from None
