"""What was asked and what was answered: a line before each request and one after, in memory and in a file."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(slots=True)
class Request:
    """One request. Times are seconds of the monotonic clock; the answer's are None until it came, or never did.

    `trouble` says why no answer came; `expected` is whether what came is what was wanted.
    """

    number: int
    step: str
    user: str
    sent_at: float
    ended_at: float | None = None
    status: int | None = None
    trouble: str | None = None
    retry_after: str | None = None
    expected: bool = False

    @property
    def seconds(self) -> float:
        return (self.ended_at or time.monotonic()) - self.sent_at


class Journal:
    """Every request of a load in the order in which they were sent; the file is open during the `with`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.requests: list[Request] = []
        self.last_error = float("-inf")  # when the last request ended with anything but what was wanted

    def __enter__(self) -> Self:
        self._file = self._path.open("w", buffering=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note_sent(self, step: str, user: str) -> Request:
        """To be called before the first byte goes out."""
        request = Request(len(self.requests), step, user, time.monotonic())
        self.requests.append(request)
        self._write(request.number, request.sent_at, sent=step, user=user)
        return request

    def note_end(
        self, request: Request, *, status: int | None, trouble: str | None, retry_after: str | None, expected: bool
    ) -> None:
        """To be called when the last byte of the answer is there, or when none can come any more."""
        request.ended_at = time.monotonic()
        request.status, request.trouble, request.retry_after = status, trouble, retry_after
        request.expected = expected
        if not expected:
            self.last_error = request.ended_at
        self._write(request.number, request.ended_at, status=status, trouble=trouble)

    def under_way(self, step: str) -> int:
        """How many requests of a kind have no answer yet."""
        return sum(1 for request in self.requests[-200:] if request.step == step and request.ended_at is None)

    def outcomes(self) -> Counter[str]:
        """How often each status was seen, or each trouble."""
        return Counter(str(each.status or each.trouble) for each in self.ended())

    def ended(self) -> Iterator[Request]:
        return (request for request in self.requests if request.ended_at is not None)

    def _write(self, number: int, at: float, **members: object) -> None:
        self._file.write(json.dumps({"request": number, "at": round(at, 6), **members}) + "\n")
