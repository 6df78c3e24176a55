"""Runs wrk, bounded in time, on a core of its own."""

import json
import os
import subprocess
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

SCRIPT = Path(__file__).with_name("client.lua")
PERCENTS = ("50", "75", "90", "95", "99", "99.9", "99.99")
_GRACE = 90  # seconds that wrk may take beyond its load


@dataclass(frozen=True, slots=True)
class Load:
    """What a load met. Latencies are milliseconds; `refused` are answers outside 2xx and 3xx, `broken` no answers."""

    per_second: float
    p50: float
    p90: float
    p99: float
    worst: float
    requests: int
    refused: int
    broken: int
    percentiles: dict[str, float] = field(default_factory=dict)  # "50" to "99.99", for the curve

    def with_failures_of(self, other: "Load") -> "Load":
        """The same load; what failed in the one that it is compared with counts here too."""
        return replace(self, refused=self.refused + other.refused, broken=self.broken + other.broken)


@dataclass(frozen=True, slots=True)
class Answers:
    """What runs of wrk met, which can be added up.

    `times` says how many requests took so many microseconds, with those that wrk adds for who would have asked while an
    answer was late.
    """

    requests: int = 0
    microseconds: int = 0
    refused: int = 0
    broken: int = 0
    times: Counter[int] = field(default_factory=Counter)

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(
            self.requests + other.requests,
            self.microseconds + other.microseconds,
            self.refused + other.refused,
            self.broken + other.broken,
            self.times + other.times,
        )

    @property
    def load(self) -> Load:
        """The same in figures; all latencies are 0 where nothing was answered."""
        percentiles = self._percentiles()
        return Load(
            per_second=self.requests / self.microseconds * 1e6,
            p50=percentiles["50"],
            p90=percentiles["90"],
            p99=percentiles["99"],
            worst=max(self.times, default=0) / 1000,
            requests=self.requests,
            refused=self.refused,
            broken=self.broken,
            percentiles=percentiles,
        )

    def _percentiles(self) -> dict[str, float]:
        """Milliseconds that so many in a hundred stay within."""
        times = sorted(self.times)
        ranks = list(accumulate(self.times[each] for each in times))
        if not times:
            return dict.fromkeys(PERCENTS, 0.0)
        return {each: times[bisect_left(ranks, float(each) / 100 * ranks[-1])] / 1000 for each in PERCENTS}


def wrk(url: str, mode: str, file: Path | None = None, *, seconds: int, connections: int = 32, cores: set[int]) -> Load:
    """Sends what `mode` says (see client.lua) for so many seconds. Raises CalledProcessError."""
    with started(url, mode, file, seconds=seconds, connections=connections, cores=cores) as process:
        return finished(process, seconds).load


@contextmanager
def started(
    url: str,
    mode: str,
    file: Path | None = None,
    *,
    seconds: int,
    connections: int = 32,
    cores: set[int],
    skip: int = 0,
) -> Iterator[subprocess.Popen[str]]:
    """The same, beside other work; it ends with the `with` at the latest. Begins after `skip` lines of the file."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT)]
    command += [url, "--", mode, *([str(file), str(skip)] if file else [])]
    with subprocess.Popen(
        [*pin(cores), *command],
        env={**os.environ, "BENCH_MODE": mode},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(process: subprocess.Popen[str], seconds: int) -> Answers:
    """Waits for the end of a load. Raises CalledProcessError and TimeoutExpired."""
    output, errors = process.communicate(timeout=seconds + _GRACE)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, "wrk", output, errors)
    seen = json.loads(output.splitlines()[-1])
    return Answers(**{**seen, "times": Counter(dict(seen["times"]))})


def pin(cores: set[int]) -> list[str]:
    """What stands before a command that is to run on these cores."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))]
