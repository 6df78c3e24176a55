"""Users in CSV (RFC 4180, with a header) and in JSON lines, one record after the other, whatever is wrong with one."""

import csv
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO

import msgspec

from service.imports import Candidate, Refusal, UnusableSource

LONGEST = 65_536  # bytes of a record
_BOM = b"\xef\xbb\xbf"


class _Unreadable(ValueError):
    """What is wrong with one record."""


def read_csv(file: IO[bytes], now: float) -> Iterator[Candidate | Refusal]:
    """A candidate, or a refusal, for each record. Raises UnusableSource when the header is not one."""
    lines = _Lines(file)
    records = csv.reader(lines, strict=True)
    try:
        header = _text(next(records, []))
    except (csv.Error, _Unreadable) as error:
        raise UnusableSource(f"the header can't be read: {error}") from None
    name, password_hash, created_at = _columns(header)
    while True:
        first = lines.begin()
        try:
            if record := _text(next(records)):
                _require_width(record, header)
                moment = None if created_at is None else _moment(record[created_at], now)
                yield Candidate(lines.span(first), record[name], record[password_hash], moment)
        except StopIteration:
            return
        except (csv.Error, _Unreadable) as error:
            yield Refusal(lines.span(first), str(error))


def read_jsonl(file: IO[bytes], now: float) -> Iterator[Candidate | Refusal]:
    """A candidate, or a refusal, for each line."""
    lines = _Lines(file)
    while True:
        first = lines.begin()
        try:
            line = next(lines)
            if not line.isspace():
                yield _parsed(lines.span(first), line, now)
        except StopIteration:
            return
        except _Unreadable as error:
            yield Refusal(lines.span(first), str(error))


class _Line(msgspec.Struct):
    username: str
    password_hash: str | None = None
    password: str | None = None
    created_at: str | int | None = None


def _parsed(where: str, line: str, now: float) -> Candidate:
    try:
        found = msgspec.json.decode(line.encode("utf-8", "surrogateescape"), type=_Line)
    except UnicodeDecodeError:
        raise _Unreadable("it is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise _Unreadable(f"it is not the JSON that is expected: {error}") from None
    password_hash = found.password if found.password_hash is None else found.password_hash
    return Candidate(where, found.username, password_hash or "", _moment(found.created_at, now))


class _Lines:
    """Lines of text, each of limited length, and records of several. What is not UTF-8 comes as surrogates."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0
        self._size = 0

    def begin(self) -> int:
        """Begins a record; returns the number of its first line."""
        self._size = 0
        return self._number + 1

    def span(self, first: int) -> str:
        """The lines from `first` to the last one that was read."""
        return f"lines {first} to {self._number}" if self._number > first else f"line {first}"

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = part = self._file.readline(LONGEST + 1)
        if not line:
            raise StopIteration
        self._number += 1
        self._size += len(line)
        while part and not part.endswith(b"\n"):
            part = self._file.readline(LONGEST)  # the rest of it, unless the file ends here
            self._size += len(part)
        if self._size > LONGEST:
            raise _Unreadable(f"it is longer than {LONGEST} bytes, or a quote in it is never closed")
        if self._number == 1:
            line = line.removeprefix(_BOM)
        return line.decode("utf-8", "surrogateescape")


def _text(record: list[str]) -> list[str]:
    try:
        "".join(record).encode("utf-8")
    except UnicodeEncodeError:
        raise _Unreadable("it is not UTF-8") from None
    return record


def _require_width(record: list[str], header: list[str]) -> None:
    if len(record) != len(header):
        raise _Unreadable(f"it has {len(record)} columns, and the header {len(header)}")


def _columns(header: list[str]) -> tuple[int, int, int | None]:
    names = [name.strip().lower() for name in header]
    if len(set(names)) < len(names):
        raise UnusableSource("the header has a column twice")
    password_hash = next((name for name in ("password_hash", "password") if name in names), None)
    if "username" not in names or password_hash is None:
        raise UnusableSource("the first line must be a header with the columns username and password_hash")
    created_at = names.index("created_at") if "created_at" in names else None
    return names.index("username"), names.index(password_hash), created_at


def _moment(text: str | int | None, now: float) -> int | None:
    """Seconds since 1970 of an ISO 8601 time, UTC where it names no zone, or of such seconds. Raises _Unreadable.

    Eight digits are a date, since the seconds that they might be were over in 1973.
    """
    if text is None or text == "":
        return None
    try:
        is_date = isinstance(text, str) and (len(text) == 8 or not text.isdigit())
        seconds = _seconds(str(text)) if is_date else int(text)
    except (ValueError, OverflowError):
        seconds = -1
    if not 0 <= seconds <= now + 86400:
        raise _Unreadable("created_at is no time between 1970 and now, in ISO 8601 or in seconds since 1970")
    return seconds


def _seconds(text: str) -> int:
    found = datetime.fromisoformat(text)
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())
