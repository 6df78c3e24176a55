"""What is compared takes turns of a second or so: whatever else slows the machine then slows both alike."""

import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import cpu_seconds
from bench.wrk import Answers, Load, finished, started

TURNS = 5  # of two seconds and more, and up to nine of one; more would cost those who rotate too many of their tokens
PAUSE = 0.2  # seconds in which a server ends what its clients did not wait for


class Side:
    """One load of those that are compared; each turn goes on in `file` where the last one ended.

    `skip` is how many lines are left out in the beginning; `process`, whose time on a core is counted.
    """

    def __init__(
        self,
        url: str,
        mode: str,
        file: Path | None = None,
        *,
        cores: set[int],
        connections: int = 32,
        skip: int = 0,
        process: int | None = None,
    ) -> None:
        self._url, self._mode, self._file = url, mode, file
        self._cores, self._connections, self._process = cores, connections, process
        self._skip = skip
        self._answers, self._served, self._cpu = Answers(), 0, 0.0

    def warm_up(self) -> None:
        """A second that does not count."""
        self._turn(1)

    def turn(self, seconds: int) -> None:
        """So many seconds that count. Raises CalledProcessError and TimeoutExpired."""
        before = self._cpu_seconds()
        answers = self._turn(seconds)
        self._answers += answers
        self._served += answers.requests + self._connections
        self._cpu += self._cpu_seconds() - before

    @property
    def load(self) -> Load:
        """What all turns met together."""
        return self._answers.load

    @property
    def cpu(self) -> float:
        """Microseconds that the process was on a core for each request, also of those that nobody waited for."""
        return self._cpu / self._served * 1e6

    def _turn(self, seconds: int) -> Answers:
        with started(
            self._url,
            self._mode,
            self._file,
            seconds=seconds,
            connections=self._connections,
            cores=self._cores,
            skip=self._skip,
        ) as process:
            answers = finished(process, seconds)
        self._skip += answers.requests + self._connections
        time.sleep(PAUSE)
        return answers

    def _cpu_seconds(self) -> float:
        return cpu_seconds(self._process) if self._process else 0.0


def take_turns(sides: Sequence[Side], seconds: int) -> None:
    """So many seconds of each, or a few less: in turns of a second, or of a fifth where that is more."""
    length = max(1, seconds // TURNS)
    for _ in range(seconds // length):
        for side in sides:
            side.turn(length)
