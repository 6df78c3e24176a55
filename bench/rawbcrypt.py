"""The limit of what hashes, bcrypt itself: python -m bench.rawbcrypt THREADS SECONDS ROUNDS.

Prints verifications a second.
"""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from statistics import fmean
from typing import Self

import bcrypt

from bench.seed import PASSWORD
from bench.servers import ROOT


class RawBcrypt:
    """Measures before and after what is done in its `with`, in a process of its own, for so many `seconds` each."""

    def __init__(self, threads: int, seconds: float, rounds: int) -> None:
        self._command = [sys.executable, "-m", "bench.rawbcrypt", str(threads), str(seconds), str(rounds)]
        self._rates: list[float] = []

    @property
    def per_second(self) -> float:
        """The mean of what was measured so far."""
        return fmean(self._rates)

    def __enter__(self) -> Self:
        self._measure()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._measure()

    def _measure(self) -> None:
        done = subprocess.run(self._command, cwd=ROOT, capture_output=True, text=True, check=True)
        self._rates.append(float(done.stdout))


def rate(threads: int, seconds: float, rounds: int) -> float:
    """Verifications a second: what each thread did, in its own time to the end of its last one."""
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds))
    started = time.perf_counter()

    def work() -> float:
        count, elapsed = 0, 0.0
        while elapsed < seconds:
            bcrypt.checkpw(PASSWORD.encode(), stored)
            count, elapsed = count + 1, time.perf_counter() - started
        return count / elapsed

    with ThreadPoolExecutor(threads) as pool:
        return sum(future.result() for future in [pool.submit(work) for _ in range(threads)])


if __name__ == "__main__":
    sys.stdout.write(f"{rate(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))}\n")
