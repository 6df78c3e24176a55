"""The limit of login: bcrypt itself on so many threads, for so many seconds. Prints verifications a second."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

import bcrypt

from bench.seed import PASSWORD


def rate(threads: int, seconds: float, rounds: int = 12) -> float:
    """Verifications a second, counted from the first begun to the last finished."""
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds))
    started = time.perf_counter()

    def work() -> int:
        count = 0
        while time.perf_counter() - started < seconds:
            bcrypt.checkpw(PASSWORD.encode(), stored)
            count += 1
        return count

    with ThreadPoolExecutor(threads) as pool:
        counts = [future.result() for future in [pool.submit(work) for _ in range(threads)]]
    return sum(counts) / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.stdout.write(f"{rate(int(sys.argv[1]), float(sys.argv[2]))}\n")
