"""python -m bench.faults: breaks what a service stands on, under load, and says what became of its promises."""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from bench import results
from bench.faults import contention, outages, processes, table, upgrades
from bench.faults.experiment import Experiment
from bench.faults.options import options
from bench.faults.table import Row
from bench.progress import announced, clear
from bench.servers import migrate
from bench.stop import stoppable
from service.localdb import LocalDatabase, local_database
from service.mariadb import LocalDatabaseError

FAULTS: dict[str, Callable[[Experiment[LocalDatabase]], Awaitable[None]]] = {
    "kill": outages.kill,
    "stop": outages.stop,
    "late": outages.late,
    "half-open": outages.half_open,
    "read-only": outages.read_only,
    "disk-full": outages.disk_full,
    "small-pool": contention.small_pool,
    "locked-tables": contention.locked_tables,
    "locked-rows": contention.locked_rows,
    "deadlocks": contention.deadlocks,
    "killed-connections": contention.killed_connections,
    "idle-connections": contention.idle_connections,
    "few-connections": contention.few_connections,
    "impatient-clients": processes.impatient_clients,
    "restart": processes.restart,
    "killed-worker": processes.killed_worker,
    "migration-cut-off": upgrades.cut_off,
    "migrations-at-once": upgrades.at_once,
    "fast-clock": processes.fast_clock,
    "slow-clock": processes.slow_clock,
}
NAME = "faults.json"


def main() -> int:
    """Returns 1 when a promise was broken, and 2 for a bad command."""
    asked = options("python -m bench.faults", __doc__, FAULTS, NAME)
    about = results.machine()
    rows: list[Row] = []
    try:
        with tempfile.TemporaryDirectory() as name:
            rows.extend(_run(asked.only or list(FAULTS), asked.keep or Path(name), brief=asked.quick))
    except (LocalDatabaseError, FileNotFoundError) as error:
        sys.stderr.write(f"bench.faults: {error}\n")
        return 1
    finally:  # also of the part before a failure
        clear()
        sys.stdout.write(table.text(rows))
    whole = not (asked.only or asked.quick)
    if asked.into or whole:
        table.write((asked.into or results.BENCH) / NAME, about, rows)
    return int(not all(row.kept for row in rows))


def _run(names: Sequence[str], folder: Path, *, brief: bool) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as data, local_database(Path(data) / "mariadb") as database:
        migrate(database.url)
        for name in announced(names, rounds=1, guess=10 if brief else 40):
            yield asyncio.run(_try(name, database, folder, brief=brief))


async def _try(name: str, database: LocalDatabase, folder: Path, *, brief: bool) -> Row:
    experiment = Experiment(name, database, folder, brief=brief)
    await FAULTS[name](experiment)
    return table.row_of(experiment, (FAULTS[name].__doc__ or "").strip())


if __name__ == "__main__":
    sys.exit(stoppable(main))
