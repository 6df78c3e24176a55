"""How far two runs agree: python -m bench.agreement ONE OTHER, each a results.json.

Prints each ratio with the spread of its rounds in both runs, and how far the second median is from the first. Ends with
1 where the spreads of one don't meet, and with 2 where there is nothing to compare. Of one ratio, measured in five
rounds by each run, chance alone keeps the spreads apart in one pair of runs in 126; of one of 28 ratios, in a fifth.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench import results
from bench.table import Row, summarise


class NothingToCompareError(Exception):
    """The text says what is wrong with which file."""


def read(path: Path) -> dict[str, Row]:
    """A run's ratios by name: what has no limit of the same run follows the machine. Raises NothingToCompareError."""
    try:
        rows = summarise(results.read(path))
    except (OSError, msgspec.DecodeError) as error:
        raise NothingToCompareError(f"{path}: {error}") from None
    if any(row.failed for row in rows):
        raise NothingToCompareError(f"{path}: requests were refused or broken, so its figures are worth nothing")
    return {row.name: row for row in rows if row.limit}


def pairs(one: Path, other: Path) -> list[tuple[Row, Row]]:
    """The ratios that both runs have. Raises NothingToCompareError."""
    found, others = read(one), read(other)
    both = [(row, others[name]) for name, row in found.items() if name in others]
    if not both:
        raise NothingToCompareError(f"{one} and {other} have no ratio in common")
    return both


def meet(one: Row, other: Row) -> bool:
    """Whether the spreads have anything in common."""
    return max(one.least, other.least) <= min(one.most, other.most)


def lines(compared: Sequence[tuple[Row, Row]]) -> Iterator[str]:
    """One a ratio; says so where the spreads don't meet, or where the runs are on two sides of the same target."""
    width = max(len(one.name) for one, _ in compared)
    for one, other in compared:
        turned = one.target == other.target and one.met is not other.met
        notes = ", ".join(filter(None, ("" if meet(one, other) else "apart", "another verdict" if turned else "")))
        change = f"{(other.score / one.score - 1) * 100:+.0f} %"
        yield f"{one.name:{width}}  {_spread(one)}  {_spread(other)}  {change:>6}  {notes}".rstrip()


def _spread(row: Row) -> str:
    return f"{row.score:5.2f} ({row.least:.2f}-{row.most:.2f})"


def main() -> int:
    """Returns the code to end with."""
    parser = argparse.ArgumentParser(prog="python -m bench.agreement", description=__doc__)
    for name in ("one", "other"):
        parser.add_argument(name, type=Path, metavar=name.upper())
    options = parser.parse_args()
    try:
        compared = pairs(options.one, options.other)
    except NothingToCompareError as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines(compared)))
    return int(not all(meet(*pair) for pair in compared))


if __name__ == "__main__":
    sys.exit(main())
