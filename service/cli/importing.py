"""`mstack-auth users import`: moving in."""

import os
import stat
import time
from asyncio import Runner
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from service.address import DatabaseAddress
from service.cli import terminal
from service.cli.connection import connected
from service.cli.progress import Report, Source, take_all
from service.cli.terminal import REFUSED
from service.database import Database
from service.environment import InvalidSetting
from service.errors import Unavailable
from service.importfiles import read_csv, read_jsonl
from service.imports import BATCH, Candidate, Import, Refusal
from service.importtable import read_row
from service.queries import original_users

TIMEOUT = 30  # seconds; a statement has a thousand rows

_READERS = {"csv": read_csv, "jsonl": read_jsonl}
T = TypeVar("T")
_PATH = click.Path(allow_dash=True, dir_okay=False, path_type=Path)


@click.command("import")
@click.argument("file", type=_PATH, required=False)
@click.option(
    "--format", "form", type=click.Choice(sorted(_READERS)), help="Of FILE, unless its name ends in .csv or .jsonl."
)
@click.option(
    "--from-mysql",
    "url",
    metavar="URL",
    help="Database to read, as DATABASE_URL has it; - reads the URL from standard input.",
)
@click.option("--table", default="users", show_default=True, help="Table to read --from-mysql.")
@click.option("--dry-run", is_flag=True, help="Says the same, and writes nothing.")
@click.option(
    "--report", type=click.Path(dir_okay=False, path_type=Path), help="Writes what is refused, and why, to this file."
)
@terminal.as_json
def import_(
    file: Path | None, form: str | None, url: str | None, table: str, dry_run: bool, report: Path | None, as_json: bool
) -> None:
    """Takes over users with their password hashes, from FILE (- is standard input) or from a table.

    CSV has a header with the columns username and password_hash, JSON lines have members of these names; created_at
    may be there too. A table has the columns id, username and password. What is refused stops nothing, and an import
    that was stopped can be run again.
    """
    if (file is None) == (url is None):
        raise click.UsageError("name either a FILE or --from-mysql")
    with ExitStack() as stack:
        opened = stack.enter_context(click.open_file(str(file), "rb")) if file else None
        reader = _READERS[form or _form_of(file)] if file else None
        if report and opened and report.exists() and os.path.samestat(report.stat(), os.fstat(opened.fileno())):
            raise click.UsageError("the report would overwrite the FILE")
        address = None if url is None else _address(url)
        parts = stack.enter_context(connected(timeout=TIMEOUT))
        if opened and reader:
            source = Source(reader(opened, time.time()), _size(opened), opened.tell)
        else:
            assert address, "or there is a file"
            source = stack.enter_context(_table(parts.runner, address, table))
        refused = Report(stack.enter_context(report.open("w", encoding="utf-8")) if report else None, as_json)
        work = Import(parts.database, dry_run=dry_run, clock=time.time)
        stack.callback(work.close)
        take_all(parts.runner, source, work, refused, as_json=as_json, dry_run=dry_run)
        if work.tally.refused:
            raise click.exceptions.Exit(REFUSED)


def _form_of(file: Path) -> str:
    form = file.suffix.lower().removeprefix(".")
    if form not in _READERS:
        raise click.UsageError("say with --format what the file is")
    return form


def _size(opened: IO[bytes]) -> int:
    found = os.fstat(opened.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _address(url: str) -> DatabaseAddress:
    try:
        return DatabaseAddress.from_url(terminal.read_line().decode("utf-8", "replace") if url == "-" else url)
    except InvalidSetting as error:
        raise click.UsageError(f"--from-mysql {error.problem}") from None


@contextmanager
def _table(runner: Runner, address: DatabaseAddress, table: str) -> Iterator[Source]:
    if not table.isprintable() or not 0 < len(table.rstrip()) == len(table) <= 64:
        raise click.UsageError("--table is not the name of a table")
    database = Database(address, size=1, timeout=TIMEOUT)
    read = 0

    def ask(question: Coroutine[Any, Any, T]) -> T:
        try:
            return runner.run(question)
        except Unavailable as error:
            raise terminal.Unreachable(f"--from-mysql can't be read: {terminal.reason_of(error)}") from None

    def lines() -> Iterator[Candidate | Refusal]:
        nonlocal read
        last_id: Any = None
        while True:
            rows = ask(original_users.find_page(database, table, last_id, BATCH))
            if not rows:
                return
            last_id = rows[-1].id
            read += len(rows)
            yield from map(read_row, rows)

    try:
        yield Source(lines(), ask(original_users.estimate_count(database, table)), lambda: read)
    finally:
        runner.run(database.close())
