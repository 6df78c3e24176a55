"""python -m bench: starts everything, measures, and says what it saw."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from bench import pictures, results
from bench.address import AddressRefusedError, permitted
from bench.plan import OURS, THEIRS, Figure
from bench.progress import clear
from bench.remote import ServiceRefusedError
from bench.run import loaded, measured, scenarios_of
from bench.stop import stoppable
from bench.table import Row, summarise, text
from service.mariadb import LocalDatabaseError


def main() -> int:
    """Returns 1 when a request was refused or broken, as then no figure is worth anything, and 2 for a bad command."""
    options = _options()
    seconds, rounds = (1, 1) if options.quick else (options.seconds, options.rounds)
    try:
        options.target, options.against = (
            url and permitted(url, allow_remote=options.allow_remote) for url in (options.target, options.against)
        )
        if options.target:
            run = loaded(options.target, options.only, rounds=rounds, seconds=seconds, quick=options.quick)
            rows, _ = _show(run)
            return _code(rows)
        return _measure(options, rounds, seconds)
    except AddressRefusedError as error:
        return _complain(error, 2)
    except (ServiceRefusedError, LocalDatabaseError) as error:
        return _complain(error, 1)
    except subprocess.CalledProcessError as error:
        return _complain(f"{error} {error.stdout or ''}{error.stderr or ''}", 1)


def _measure(options: argparse.Namespace, rounds: int, seconds: int) -> int:
    """Our own service: the table, results.json and the pictures."""
    if OURS == THEIRS:
        sys.stderr.write("bench: there is one core, which the service shares with its load: no ratio says anything\n")
    about = results.machine()
    run = measured(options.only, rounds=rounds, seconds=seconds, quick=options.quick, against=options.against)
    rows, figures = _show(run)
    whole = options.only == scenarios_of(target=False) and not (options.quick or options.against)
    with ExitStack() as stack:
        # What is not kept is drawn too, to see that it works.
        other = None if whole else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = options.into or other or results.BENCH
        pictures.draw(results.write(folder, about, rows, figures), folder / "pictures")
    return _code(rows)


def _show(run: Iterable[Figure]) -> tuple[list[Row], list[Figure]]:
    """Prints the table of what was measured, also of the part before a refusal."""
    figures: list[Figure] = []
    try:
        for figure in run:
            figures.append(figure)  # noqa: PERF402  # extend would lose them all at a refusal
    finally:
        clear()
        rows = summarise(figures)
        sys.stdout.write(text(rows) if rows else "")
    return rows, figures


def _code(rows: Iterable[Row]) -> int:
    return int(any(row.failed or row.theirs_failed for row in rows))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round of a second each, to see that it works; keeps no results")
    add("--rounds", type=int, default=5, choices=range(1, 21), metavar="N", help="default 5")
    add("--seconds", type=int, default=3, choices=range(1, 61), metavar="N", help="each load; default 3")
    add("--only", action="append", choices=scenarios_of(target=False), help="this scenario; may be repeated")
    add("--into", type=results.folder, metavar="FOLDER", help="keeps results and pictures there; default bench/")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--target", metavar="URL", help="loads a running service instead: no limits, nothing is started")
    other.add_argument("--against", metavar="URL", help="measures a running service too, in turn with ours")
    add("--allow-remote", action="store_true", help="also where URL is not on this machine")
    options = parser.parse_args()
    known = scenarios_of(target=bool(options.target))
    options.only = options.only or known
    if unknown := set(options.only) - set(known):
        parser.error(f"--target has no scenario {', '.join(sorted(unknown))}")
    if options.target and options.into:
        parser.error("--target keeps no results")
    return options


def _complain(problem: object, code: int) -> int:
    sys.stderr.write(f"bench: {problem}\n")
    return code


if __name__ == "__main__":
    if not shutil.which("wrk"):
        sys.exit("bench: wrk is not installed: apt install wrk (Debian, Ubuntu), brew install wrk (macOS)")
    sys.exit(stoppable(main))
