"""How far a long step has come, for somebody at a terminal."""

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

S = TypeVar("S")


def progress(steps: Sequence[S], what: str) -> Iterator[S]:
    """The steps one by one, each percent of them shown on stderr if that is a terminal."""
    shown = -1
    for number, step in enumerate(steps):
        percent = number * 100 // len(steps)
        if percent != shown and sys.stderr.isatty():
            sys.stderr.write(f"\r{what}: {percent} %          ")
            shown = percent
        yield step
