"""How far an import has come: its bar, its report of what was refused, and its last line."""

import signal
import sys
from asyncio import Runner
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TextIO

import click
import msgspec

from service.cli import terminal
from service.imports import BATCH, Candidate, Import, Refusal, Tally
from service.logs import printable

SHOWN = 20  # refusals, where no file is named for them


@dataclass(frozen=True, slots=True)
class Source:
    """`position` says how much of `length`, which is 0 where it is not known, has been read."""

    lines: Iterator[Candidate | Refusal]
    length: int
    position: Callable[[], int]


@dataclass(slots=True)
class Report:
    """All refusals in a file, else the first of them on standard error."""

    file: TextIO | None
    as_json: bool
    first: list[Refusal] = field(default_factory=list)

    def add(self, refusals: list[Refusal]) -> None:
        if self.file:
            self.file.writelines(f"{self._line(each)}\n" for each in refusals)
        else:
            self.first += refusals[: SHOWN - len(self.first)]

    def show(self, count: int) -> None:
        for each in self.first:
            click.echo(self._line(each), err=True)
        if not self.file and count > len(self.first):
            click.echo(f"… and {count - len(self.first)} more; --report FILE has them all", err=True)

    def _line(self, refusal: Refusal) -> str:
        text = f"{refusal.where}: {refusal.reason}"
        return msgspec.json.encode(refusal).decode() if self.as_json else printable(text)


def take_all(runner: Runner, source: Source, work: Import, report: Report, *, as_json: bool, dry_run: bool) -> None:
    """Says what was done once a batch was read, after Ctrl-C and without the database too."""
    began = complete = False
    shows = sys.stderr.isatty() and source.length > 0 and not as_json
    try:
        with ExitStack() as stack:
            bar = stack.enter_context(click.progressbar(length=source.length, file=sys.stderr)) if shows else None
            while batch := list(islice(source.lines, BATCH)):
                began = True
                with _undisturbed():
                    report.add(runner.run(work.take(batch)))
                if bar is not None:
                    bar.update(source.position() - bar.pos)
        complete = True
    finally:
        if began or complete:
            report.show(work.tally.refused)
            _show(work.tally, complete=complete, dry_run=dry_run, as_json=as_json)


def _show(tally: Tally, *, complete: bool, dry_run: bool, as_json: bool) -> None:
    text = (
        f"{'Would be imported' if dry_run else 'Imported'}: {tally.imported}, "
        f"already there: {tally.already_there}, refused: {tally.refused}."
        f"{'' if complete else ' Not all was read: run it again to go on.'}"
    )
    terminal.show({**asdict(tally), "dry_run": dry_run, "complete": complete}, text, as_json=as_json)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Lets Ctrl-C wait until a batch is done, and so counted; each of its statements has a deadline.

    A mask would be of this thread alone, and the signal would come by the one that looks up the host of the database.
    """
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        signal.raise_signal(signal.SIGINT)
