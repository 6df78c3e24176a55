"""What is compared takes turns of a second or so: whatever else slows the machine then slows both alike."""

import time
from collections.abc import Sequence
from pathlib import Path

from bench.processes import cpu_seconds
from bench.wrk import Answers, Load, finished, started

TURNS = 5  # at least, of so many whole seconds that no more than twice as many are taken
PAUSE = 0.1  # seconds in which a server ends what its clients did not wait for


class Side:
    """One load of those that are compared; each turn goes on in `file` where the last one ended.

    `process` is the one whose time on a core is counted.
    """

    def __init__(
        self,
        url: str,
        mode: str,
        file: Path | None = None,
        *,
        cores: set[int],
        connections: int = 32,
        process: int | None = None,
    ) -> None:
        self._url, self._mode, self._file = url, mode, file
        self._cores, self._connections, self._process = cores, connections, process
        self._sent, self._cpu = 0, 0.0
        self._answers = Answers()

    def warm_up(self) -> None:
        """A second that does not count."""
        self._turn(1)

    def turn(self, seconds: int) -> None:
        """So many seconds that count. Raises CalledProcessError."""
        before = self._cpu_seconds()
        self._answers += self._turn(seconds)
        self._cpu += self._cpu_seconds() - before

    @property
    def load(self) -> Load:
        """What all turns met together."""
        return self._answers.load

    @property
    def cpu(self) -> float:
        """Microseconds that the process was on a core, for each answer."""
        return self._cpu / self._answers.requests * 1e6

    def _turn(self, seconds: int) -> Answers:
        settings = {"seconds": seconds, "connections": self._connections, "skip": self._sent}
        with started(self._url, self._mode, self._file, cores=self._cores, **settings) as process:
            answers = finished(process, seconds)
        self._sent += answers.requests + self._connections
        time.sleep(PAUSE)
        return answers

    def _cpu_seconds(self) -> float:
        return cpu_seconds(self._process) if self._process else 0.0


def take_turns(sides: Sequence[Side], seconds: int) -> None:
    """About so many seconds of each, in turns that are as short as wrk can."""
    length = max(1, seconds // TURNS)
    for _ in range(seconds // length):
        for side in sides:
            side.turn(length)
