"""Runs wrk, bounded in time, on a core of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

SCRIPT = Path(__file__).with_name("client.lua")
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


def wrk(url: str, mode: str, file: Path | None = None, *, seconds: int, connections: int = 32, cores: set[int]) -> Load:
    """Sends what `mode` says (see client.lua) for so many seconds. Raises CalledProcessError."""
    with started(url, mode, file, seconds=seconds, connections=connections, cores=cores) as process:
        return finished(process, seconds)


@contextmanager
def started(
    url: str, mode: str, file: Path | None = None, *, seconds: int, connections: int = 32, cores: set[int]
) -> Iterator[subprocess.Popen[str]]:
    """The same, beside other work; it ends with the `with` at the latest."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT)]
    command += [url, "--", mode, *([str(file)] if file else [])]
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


def finished(process: subprocess.Popen[str], seconds: int) -> Load:
    """Waits for the end of a load. Raises CalledProcessError and TimeoutExpired."""
    output, errors = process.communicate(timeout=seconds + _GRACE)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, "wrk", output, errors)
    seen = json.loads(output.splitlines()[-1])
    percentiles = {name: value / 1000 for name, value in seen["percentiles"].items()}
    return Load(
        per_second=seen["requests"] / seen["microseconds"] * 1e6,
        p50=percentiles["50"],
        p90=percentiles["90"],
        p99=percentiles["99"],
        worst=seen["worst"] / 1000,
        requests=seen["requests"],
        refused=seen["refused"],
        broken=seen["broken"],
        percentiles=percentiles,
    )


def pin(cores: set[int]) -> list[str]:
    """What stands before a command that is to run on these cores."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))]
