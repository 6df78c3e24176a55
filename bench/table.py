"""What the rounds say together: medians, spread, ratio and target."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.plan import Figure
from bench.wrk import Load


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure over all rounds. `score` is the ratio to its limit, or the value where it has none.

    `theirs` is another service's value, and `over_theirs` ours of it, in turn with it.
    """

    name: str
    unit: str
    value: float
    limit: float | None
    score: float
    least: float
    most: float
    p50: float | None
    p99: float | None
    target: str
    met: bool | None
    failed: int
    theirs: float | None
    over_theirs: float | None
    theirs_failed: int


def summarise(figures: Sequence[Figure]) -> list[Row]:
    """A row a name, in the order of their first figures."""
    names = dict.fromkeys(figure.name for figure in figures)
    return [_row([figure for figure in figures if figure.name == name]) for name in names]


def _row(rounds: list[Figure]) -> Row:
    first = rounds[0]
    scores = [figure.value / figure.limit if figure.limit else figure.value for figure in rounds]
    loads = [figure.load for figure in rounds if figure.load]
    turns = [turn for figure in rounds for turn in zip(figure.in_turn, figure.theirs, strict=True)]
    score = statistics.median(scores)
    target, met = _target(first, score)
    return Row(
        name=first.name,
        unit=first.unit,
        value=statistics.median(figure.value for figure in rounds),
        limit=_median(figure.limit for figure in rounds if figure.limit),
        score=score,
        least=min(scores),
        most=max(scores),
        p50=_median(load.p50 for load in loads),
        p99=_median(load.p99 for load in loads),
        target=target,
        met=met,
        failed=_failed([*loads, *(ours for ours, _ in turns)]),
        theirs=_median(theirs.per_second for _, theirs in turns),
        over_theirs=_median(ours.per_second / theirs.per_second for ours, theirs in turns if theirs.per_second),
        theirs_failed=_failed(theirs for _, theirs in turns),
    )


def _target(figure: Figure, score: float) -> tuple[str, bool | None]:
    if figure.at_least is not None:
        return f">= {figure.at_least:g}", score >= figure.at_least
    if figure.at_most is not None:
        return f"<= {figure.at_most:g}", score <= figure.at_most
    return "", None


def _failed(loads: Iterable[Load]) -> int:
    return sum(load.refused + load.broken for load in loads)


def _median(numbers: Iterable[float]) -> float | None:
    found = list(numbers)
    return statistics.median(found) if found else None


class Column(NamedTuple):
    """A heading, and what stands under it in a row."""

    heading: str
    cell: Callable[[Row], str]


COLUMNS = (
    Column("", lambda row: row.name),
    Column("median", lambda row: f"{_number(row.value, 1 if row.value >= 10 else 2)} {row.unit:3}"),
    Column("of", lambda row: _number(row.limit, 1)),
    Column("ratio", lambda row: f"{row.score:.2f}" if row.limit else ""),
    Column("spread", lambda row: f"{row.least:.2f}-{row.most:.2f}" if row.limit else f"{row.least:.1f}-{row.most:.1f}"),
    Column("target", lambda row: row.target),
    Column("", lambda row: {None: "", True: "met", False: "missed"}[row.met]),
    Column("theirs", lambda row: _number(row.theirs, 1)),
    Column("ours/theirs", lambda row: _number(row.over_theirs, 2)),
    Column("p50 ms", lambda row: _number(row.p50, 2)),
    Column("p99 ms", lambda row: _number(row.p99, 2)),
)


def text(rows: Sequence[Row]) -> str:
    """The table as it is printed, without the columns in which nothing stands."""
    columns = [column for column in COLUMNS if any(column.cell(row) for row in rows)]
    widths = [max(len(text) for text in (heading, *map(cell, rows))) for heading, cell in columns]
    lines = [_line([column.heading for column in columns], widths)]
    for row in rows:
        lines.append(_line([column.cell(row) for column in columns], widths))
        for whose, count in (("", row.failed), (" of theirs", row.theirs_failed)):
            if count:
                lines.append(f"  {count} requests{whose} were refused or broken: this figure is worth nothing")
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = cells
    return "  ".join(
        [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
    ).rstrip()


def _number(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"
