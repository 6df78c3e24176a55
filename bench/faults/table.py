"""What came of each fault: a row of the table, which is also what faults.json keeps."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path

from bench.faults.experiment import D, Experiment
from bench.faults.requests import DEADLINE
from bench.faults.verdict import Verdict

PROMPT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Row:
    """One fault. Times are seconds, but verify's p99, which is milliseconds before, during and after."""

    fault: str
    what: str
    seen: dict[str, int]
    verdict: Verdict
    longest: float
    recovery: float | None  # None where no calm came
    verify_p99: tuple[float | None, float | None, float | None]
    evidence: dict[str, object]

    @property
    def kept(self) -> bool:
        """Whether all that must be 0 is 0, and every request had its answer within the deadline."""
        return self.verdict.kept and self.longest < DEADLINE

    @property
    def prompt(self) -> bool:
        return self.recovery is not None and self.recovery <= PROMPT


def row_of(experiment: Experiment[D], what: str) -> Row:
    """What an experiment that is over has shown."""
    assert experiment.verdict is not None
    recovery = max((window.recovery for window in experiment.windows), default=inf)
    return Row(
        fault=experiment.name,
        what=what,
        seen=dict(sorted(experiment.journal.outcomes().items())),
        verdict=experiment.verdict,
        longest=max((request.seconds for request in experiment.journal.ended()), default=0.0),
        recovery=None if recovery == inf else recovery,
        verify_p99=_verify_p99(experiment),
        evidence=experiment.evidence,
    )


def _verify_p99(experiment: Experiment[D]) -> tuple[float | None, float | None, float | None]:
    """By when a request was sent; between one fault and the next is neither before nor after."""
    windows = experiment.windows
    first, last = windows[0].began_at, windows[-1].restored_at
    took: tuple[list[float], ...] = ([], [], [])
    for request in experiment.journal.ended():
        if request.step != "verify" or request.status != 200:
            continue
        if request.sent_at < first:
            took[0].append(request.seconds * 1000)
        elif request.sent_at >= last:
            took[2].append(request.seconds * 1000)
        elif any(window.began_at <= request.sent_at < window.restored_at for window in windows):
            took[1].append(request.seconds * 1000)
    before, during, after = (_p99(part) for part in took)
    return before, during, after


def _p99(milliseconds: Sequence[float]) -> float | None:
    return sorted(milliseconds)[int(len(milliseconds) * 0.99)] if milliseconds else None


def text(rows: Sequence[Row]) -> str:
    """The table as it is printed; what is not as it should be stands below it."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return "\n".join([*lines, *(f"  {row.fault}: {trouble}" for row in rows for trouble in _troubles(row))]) + "\n"


_HEADINGS = (
    "fault",
    "clients saw",
    "lost",
    "risen",
    "500s",
    "wrong",
    "phantoms",
    "checked",
    "longest s",
    "recovery s",
    "verify's p99 ms",
)


def _cells(row: Row) -> tuple[str, ...]:
    verdict = row.verdict
    counts = (verdict.lost, verdict.resurrected, verdict.errors, verdict.wrong, verdict.phantoms, verdict.checked)
    return (
        row.fault,
        ", ".join(f"{count} {status}" for status, count in row.seen.items()),
        *map(str, counts),
        f"{row.longest:.2f}",
        "never" if row.recovery is None else f"{row.recovery:.2f}",
        " ".join("-" if p99 is None else f"{p99:.0f}" for p99 in row.verify_p99),
    )


def _troubles(row: Row) -> Iterable[str]:
    yield from row.verdict.leaks
    if row.verdict.tracebacks:
        yield f"{row.verdict.tracebacks} tracebacks in the log"
    if row.longest >= DEADLINE:
        yield f"a request had no answer within {DEADLINE:.0f} s"
    if not row.prompt:
        yield f"it took more than {PROMPT:.0f} s until no client saw an error"


def write(path: Path, machine: dict[str, object], rows: Sequence[Row]) -> None:
    """A line a fault, so that a diff of two runs can be read."""
    lines = ",\n  ".join(json.dumps(asdict(row), default=str) for row in rows)
    about = json.dumps(machine, indent=1).replace("\n", "\n ")
    path.write_text(f'{{\n "machine": {about},\n "faults": [\n  {lines}\n ]\n}}\n')
