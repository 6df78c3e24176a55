"""How far two runs agree: python -m bench.agreement ONE OTHER, each a results.json.

Prints each ratio with the spread of its rounds in both runs, and how far the second median is from the first. Returns 1
where two spreads don't meet: of two sets of five rounds that nothing but chance tells apart, that is one pair in 126.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench import results
from bench.table import Row, summarise


def pairs(one: Sequence[Row], other: Sequence[Row]) -> Iterator[tuple[Row, Row]]:
    """The ratios that both runs have. What has no limit of the same run follows the machine, and is left out."""
    by_name = {row.name: row for row in other}
    return ((row, by_name[row.name]) for row in one if row.limit and row.name in by_name)


def meet(one: Row, other: Row) -> bool:
    """Whether the spreads have anything in common."""
    return max(one.least, other.least) <= min(one.most, other.most)


def text(compared: Sequence[tuple[Row, Row]]) -> str:
    """A line a ratio, which says so where the spreads don't meet or the runs are on two sides of a target."""
    width = max((len(one.name) for one, _ in compared), default=0)
    lines = []
    for one, other in compared:
        notes = ["" if meet(one, other) else "apart", "" if one.met is other.met else "another verdict"]
        change = f"{(other.score / one.score - 1) * 100:+.0f} %"
        line = f"{one.name:{width}}  {_spread(one)}  {_spread(other)}  {change:>6}  {', '.join(filter(None, notes))}"
        lines.append(line.rstrip() + "\n")
    return "".join(lines)


def _spread(row: Row) -> str:
    return f"{row.score:5.2f} ({row.least:.2f}-{row.most:.2f})"


def main(one: str, other: str) -> int:
    """Returns 2 for a file that can't be read."""
    try:
        compared = list(pairs(*(summarise(results.read(Path(path))) for path in (one, other))))
    except (OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    sys.stdout.write(text(compared))
    return int(not all(meet(*pair) for pair in compared))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) == 3 else __doc__)
