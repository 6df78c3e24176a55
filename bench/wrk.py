"""Runs wrk, bounded in time, on a core of its own."""

import json
import os
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

SCRIPT = Path(__file__).with_name("client.lua")


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

    def with_failures_of(self, other: "Load") -> "Load":
        """The same load; what failed in the one that it is compared with counts here too."""
        return replace(self, refused=self.refused + other.refused, broken=self.broken + other.broken)


def wrk(url: str, mode: str, file: Path | None = None, *, seconds: int, connections: int = 32, cores: set[int]) -> Load:
    """Sends what `mode` says (see client.lua) for so many seconds. Raises CalledProcessError."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT)]
    command += [url, "--", mode]
    done = subprocess.run(
        [*pin(cores), *command, *([str(file)] if file else [])],
        env={**os.environ, "BENCH_MODE": mode},
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 90,
    )
    seen = json.loads(done.stdout.splitlines()[-1])
    p50, p90, p99, worst = (seen[name] / 1000 for name in ("p50", "p90", "p99", "worst"))
    per_second = seen["requests"] / seen["microseconds"] * 1e6
    return Load(per_second, p50, p90, p99, worst, seen["requests"], seen["refused"], seen["broken"])


def pin(cores: set[int]) -> list[str]:
    """What stands before a command that is to run on these cores."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))]
