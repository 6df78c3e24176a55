"""What a soak saw of the process that it watched: whether it grew, and a file and a picture of it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from statistics import fmean, linear_regression, median

from bench.faults.table import Row

MINUTE = 60  # seconds
# Standard errors; a rise that is none is seldom larger, once in some hundred times.
CERTAIN = 3
# Resident memory has hardly any noise. In 22 minutes this is six bytes a request.
SMALLEST = {"MB of memory": 1.0}


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service held so many seconds after the beginning. `memory` is bytes, `files` without connections."""

    at: float
    memory: int
    files: int
    connections: int


@dataclass(frozen=True, slots=True)
class Fault:
    """`began_at` and `recovery` are seconds; the latter is None where no calm came."""

    name: str
    began_at: float
    recovery: float | None
    evidence: dict[str, object]


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line through values at even distances: how much it rises from the first to the last.

    `error` is the standard error of the rise, in the same unit.
    """

    rise: float
    error: float

    @property
    def grows(self) -> bool:
        """Whether it rises by more than the noise of the values explains."""
        return self.rise > CERTAIN * self.error


def line(values: Sequence[float], cycle: int = 1) -> Line:
    """Of least squares. What returns every `cycle` values, as the faults do, is neither rise nor noise.

    Raises StatisticsError for `cycle` values or fewer.
    """
    places = _apart(range(len(values)), cycle)
    parts = _apart(values, cycle)
    slope, _ = linear_regression(places, parts, proportional=True)
    squares = sum((part - slope * place) ** 2 for place, part in zip(places, parts, strict=True))
    spread = sum(place**2 for place in places)
    noise = squares / max(1, len(values) - cycle - 1)
    return Line(slope * (len(values) - 1), (noise / spread) ** 0.5 * (len(values) - 1))


def _apart(values: Sequence[float], cycle: int) -> list[float]:
    """Each value less the mean of those at the same place of the cycle."""
    means = [fmean(values[place::cycle]) for place in range(min(cycle, len(values)))]
    return [value - means[place % cycle] for place, value in enumerate(values)]


@dataclass(slots=True)
class Seen:
    """In the order of time; faults return after `cycle` minutes. What grows in the `warm_up`, seconds, is no growth."""

    cycle: int
    warm_up: float
    samples: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def lines(self) -> dict[str, Line]:
        """Through the medians of each minute after the warm-up; of memory in MB, and of descriptors."""
        samples = [sample for sample in self.samples if sample.at >= self.warm_up]
        minutes = [list(group) for _, group in groupby(samples, key=lambda sample: sample.at // MINUTE)]
        if len(minutes) <= self.cycle:
            return {}
        values = {
            "MB of memory": [median(each.memory for each in minute) / 1e6 for minute in minutes],
            "open files": [median(each.files for each in minute) for minute in minutes],
            "connections": [median(each.connections for each in minute) for minute in minutes],
        }
        return {what: line(medians, self.cycle) for what, medians in values.items()}

    def growth(self) -> Iterator[str]:
        """What grew, in words."""
        lines = self.lines()
        if not lines:
            yield f"too little was seen after the first {self.warm_up:.0f} s"
        for what, found in lines.items():
            if found.grows and found.rise > SMALLEST.get(what, 0):
                yield f"{what}: {found.rise:+.2f} is growth"

    def text(self) -> str:
        """The lines, below a table."""
        return "".join(
            f"  {what}: {found.rise:+.2f}, standard error {found.error:.2f}\n" for what, found in self.lines().items()
        )

    def write(self, path: Path, about: dict[str, object], row: Row | None) -> None:
        """A line a fault and a sample."""
        parts = {
            "machine": json.dumps(about, indent=1).replace("\n", "\n "),
            "row": json.dumps(row and asdict(row)),
            "lines": json.dumps({what: asdict(found) for what, found in self.lines().items()}),
            "faults": _each([asdict(fault) for fault in self.faults]),
            "samples": _each([(*asdict(sample).values(),) for sample in self.samples]),
        }
        text = ",\n ".join(f'"{name}": {part}' for name, part in parts.items())
        path.write_text(f"{{\n {text}\n}}\n")


def _each(rows: Sequence[object]) -> str:
    return "[\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"
