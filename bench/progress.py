"""Says on standard error what is under way, and about how long the rest takes."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

S = TypeVar("S")
_CLEAR = "\r\033[K"


def announced(scenarios: Sequence[str], *, rounds: int, guess: float) -> Iterator[str]:
    """The scenarios of each round in turn. `guess` is the seconds that one takes, until it is known."""
    left = list(scenarios) * rounds
    took: dict[str, float] = {}
    for number in range(rounds):
        for scenario in scenarios:
            rest = sum(took.get(name, guess) for name in left)
            say(f"round {number + 1} of {rounds}: {scenario}, {_about(rest)} left")
            began = time.monotonic()
            yield scenario
            took[scenario] = time.monotonic() - began
            left.pop(0)
    clear()


def counted(steps: Sequence[S], what: str) -> Iterator[S]:
    """The steps one by one; a terminal shows each percent of them."""
    shown = -1
    for number, step in enumerate(steps):
        percent = number * 100 // len(steps)
        if percent != shown and sys.stderr.isatty():
            say(f"{what}: {percent} %")
            shown = percent
        yield step


def say(line: str) -> None:
    """In place of the last line at a terminal, and a line of its own elsewhere."""
    sys.stderr.write(f"{_CLEAR}{line}" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


def clear() -> None:
    """Takes the last line away, before something else is printed."""
    if sys.stderr.isatty():
        sys.stderr.write(_CLEAR)


def _about(seconds: float) -> str:
    return f"about {seconds / 60:.0f} min" if seconds >= 90 else f"about {max(seconds, 1):.0f} s"
