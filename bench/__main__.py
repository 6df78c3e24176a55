"""python -m bench: starts everything, measures, and says what it saw."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from bench.measure import THEIRS, Figure, Plan
from bench.scenarios import SCENARIOS
from bench.seed import SECRET, seed
from bench.servers import ROOT
from bench.table import summarise, text
from service.localdb import local_database

RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Returns 1 when a request was refused or broken: then no figure is worth anything."""
    options = _options()
    seconds, rounds = (2, 1) if options.quick else (options.seconds, options.rounds)
    with tempfile.TemporaryDirectory() as name, local_database(Path(name) / "mariadb") as database:
        os.sched_setaffinity(database.pid, THEIRS)
        yoyo = Path(sys.executable).with_name("yoyo")
        settings = {"DATABASE_URL": database.url, "JWT_SECRET": SECRET, "HASH_QUEUE": "64"}
        subprocess.run([yoyo, "apply", "--batch"], cwd=ROOT, env={**os.environ, **settings}, check=True)
        folder = Path(name)
        seed(database.url, folder, users=1000, sessions=20_000)
        plan = Plan(folder, settings, seconds, _fresh_sessions(folder), options.quick)
        figures: list[Figure] = []
        for number in range(rounds):
            for scenario in options.only or SCENARIOS:
                _say(f"\rround {number + 1} of {rounds}: {scenario}          ")
                figures += SCENARIOS[scenario](plan)
        _say("\r" + " " * 40 + "\r")
    rows = summarise(figures)
    sys.stdout.write(text(rows))
    if not options.quick and not options.only:
        results = {
            "machine": _machine(),
            "table": [asdict(row) for row in rows],
            "rounds": [asdict(figure) for figure in figures],
        }
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(row.failed for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it works; writes no results")
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 21), metavar="N", help="default 3")
    parser.add_argument(
        "--seconds", type=int, default=5, choices=range(1, 61), metavar="N", help="each load; default 5"
    )
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be repeated")
    return parser.parse_args()


def _fresh_sessions(folder: Path) -> Iterator[Path]:
    """Splits the refresh tokens: those that stay into one file, the others into slices, each to be used once."""
    lines = (folder / "refresh").read_text().splitlines(keepends=True)
    middle, slice_size = len(lines) // 2, 250
    (folder / "refresh-stay").write_text("".join(lines[:middle]))

    def slices() -> Iterator[Path]:
        for start in range(middle, len(lines), slice_size):
            path = folder / f"refresh-{start}"
            path.write_text("".join(lines[start : start + slice_size]))
            yield path

    return slices()


def _machine() -> dict[str, object]:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit.strip(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {
            name: version(name) for name in ("uvicorn", "starlette", "uvloop", "aiomysql", "bcrypt", "msgspec")
        },
    }


def _say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(text)


if __name__ == "__main__":
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is not installed: apt install wrk (Debian, Ubuntu), brew install wrk (macOS)")
    sys.exit(main())
