"""What the rounds say together: medians, spread, ratio and target."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.measure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure over all rounds. `score` is the ratio to its limit, or the value where it has none."""

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


def summarise(figures: Sequence[Figure]) -> list[Row]:
    """A row a name, in the order of their first figures."""
    names = dict.fromkeys(figure.name for figure in figures)
    return [_row([figure for figure in figures if figure.name == name]) for name in names]


def _row(rounds: list[Figure]) -> Row:
    first = rounds[0]
    scores = [figure.value / figure.limit if figure.limit else figure.value for figure in rounds]
    loads = [figure.load for figure in rounds if figure.load]
    score = statistics.median(scores)
    target, met = "", None
    if first.at_least is not None:
        target, met = f">= {first.at_least:g}", score >= first.at_least
    elif first.at_most is not None:
        target, met = f"<= {first.at_most:g}", score <= first.at_most
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
        failed=sum(load.refused + load.broken for load in loads),
    )


def _median(numbers: Iterable[float]) -> float | None:
    found = list(numbers)
    return statistics.median(found) if found else None


def text(rows: Iterable[Row]) -> str:
    """The table as it is printed."""
    lines = [
        f"{'':34}{'median':>10} {'':4}{'of':>10}{'ratio':>7}{'spread':>15}{'target':>9}{'':8}{'p50 ms':>8}{'p99 ms':>8}"
    ]
    for row in rows:
        ratio = f"{row.score:.2f}" if row.limit else ""
        target = {None: "", True: "met", False: "missed"}[row.met]
        spread = f"{row.least:.2f}-{row.most:.2f}"
        lines.append(
            f"{row.name:34}{row.value:>10.1f} {row.unit:4}{_number(row.limit, 1):>10}{ratio:>7}{spread:>15}"
            f"{row.target:>9} {target:7}{_number(row.p50, 2):>8}{_number(row.p99, 2):>8}"
        )
        if row.failed:
            lines.append(f"  {row.failed} requests were refused or broken: this figure is worth nothing")
    return "\n".join(lines) + "\n"


def _number(number: float | None, digits: int) -> str:
    return "" if number is None else f"{number:.{digits}f}"
