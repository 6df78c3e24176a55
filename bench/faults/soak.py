"""python -m bench.faults.soak: half an hour of load with a fault each minute. Nothing is lost, and nothing may grow."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from statistics import fmean, linear_regression

from bench import results
from bench.faults import contention, graph, outages, processes, table
from bench.faults.experiment import Experiment
from bench.faults.usage import Usage, usage
from bench.progress import clear, say
from bench.servers import migrate
from bench.stop import stoppable
from service.localdb import LocalDatabase, local_database
from service.mariadb import LocalDatabaseError

# Those that leave the process of the service alone: it is its memory that is watched.
FAULTS: dict[str, Callable[[Experiment[LocalDatabase]], Awaitable[None]]] = {
    "kill": outages.kill_once,
    "stop": outages.stop,
    "read-only": outages.read_only,
    "half-open": outages.half_open,
    "locked-tables": contention.locked_tables,
    "locked-rows": contention.locked_rows,
    "deadlocks": contention.deadlocks,
    "killed-connections": contention.killed_connections,
    "idle-connections": contention.idle_connections,
    "few-connections": contention.few_connections,
    "impatient-clients": processes.impatient_clients,
}
SETTINGS = {"JWT_EXPIRY": "5m"}  # so long a session that ended takes memory; the rest of the time it must be enough
LOGINS = 10  # of each user: who is asked for afterwards, each at the price of a hash
EVERY, INTERVAL = 60.0, 5.0  # seconds from one fault to the next, and from one sample to the next
WARM_UP = 1 / 3  # of the time; until then there is more to remember each minute
NAME, PICTURE = "soak.json", "pictures/soak.svg"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service held so many seconds after the beginning. `memory` is bytes, `files` without connections."""

    at: float
    memory: int
    files: int
    connections: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A straight line through the samples: how much it rises from the first to the last, and the noise around it.

    `noise` is the standard deviation, in the same unit.
    """

    rise: float
    noise: float

    @property
    def flat(self) -> bool:
        """Whether what it rises could be noise."""
        return self.rise <= 2 * self.noise


def fit(times: Sequence[float], values: Sequence[float]) -> Fit:
    """The line of least squares. Raises StatisticsError for fewer than two samples."""
    slope, start = linear_regression(times, values)
    squares = [(value - start - slope * time) ** 2 for time, value in zip(times, values, strict=True)]
    return Fit(rise=slope * (times[-1] - times[0]), noise=fmean(squares) ** 0.5)


def main() -> int:
    """Returns 1 when a promise was broken or something grew, and 2 for a bad command."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=30, choices=range(3, 1441), metavar="N", help="default 30")
    parser.add_argument("--quick", action="store_true", help="two short faults, to see that it works")
    parser.add_argument("--into", type=Path, metavar="FOLDER", help=f"keeps {NAME} and its picture there")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keeps the journals and the log there")
    asked = parser.parse_args()
    about = results.machine()
    try:
        with tempfile.TemporaryDirectory() as name, local_database(Path(name) / "mariadb") as database:
            migrate(database.url)
            folder = asked.keep or Path(name)
            folder.mkdir(parents=True, exist_ok=True)
            soak = Soak(Experiment("soak", database, folder, brief=asked.quick), 2 if asked.quick else asked.minutes)
            asyncio.run(soak.run())
    except LocalDatabaseError as error:
        sys.stderr.write(f"bench.faults.soak: {error}\n")
        return 1
    clear()
    row, fits = table.row_of(soak.experiment, __doc__ or ""), soak.fits()
    sys.stdout.write(table.text([row]))
    for what, line in fits.items():
        sys.stdout.write(f"  {what}: {line.rise:+.1f} ± {line.noise:.1f}{'' if line.flat else ', which is growth'}\n")
    if asked.into or not asked.quick:
        soak.write(asked.into or results.BENCH, about, row)
    # What a process takes in its first seconds is no growth.
    return int(not (row.kept and (asked.quick or all(line.flat for line in fits.values()))))


class Soak:
    """One experiment through which the faults go in turn, and what was seen meanwhile."""

    def __init__(self, experiment: Experiment[LocalDatabase], count: int) -> None:
        self.experiment = experiment
        self.names = list(islice(cycle(FAULTS), count))
        self.samples: list[Sample] = []
        self.faults: list[tuple[str, float, float]] = []  # the name, the beginning and the recovery, in seconds

    async def run(self) -> None:
        """The whole load, and at the end the comparison of what both sides say."""
        every = self.experiment.length(EVERY, 4)
        async with (
            self.experiment.network() as network,
            self.experiment.under_load(port=network.port, logins=LOGINS, each=[SETTINGS]),
        ):
            self._began_at = time.monotonic()
            with self._watched(network.port):
                for number, name in enumerate(self.names):
                    say(f"fault {number + 1} of {len(self.names)}: {name}")
                    await FAULTS[name](self.experiment)
                    window = self.experiment.windows[-1]
                    self.faults.append((name, window.began_at - self._began_at, window.recovery))
                    await asyncio.sleep(self._began_at + (number + 1) * every - time.monotonic())
            say("asking for each user and each session")

    def fits(self) -> dict[str, Fit]:
        """Of what the service held after the warm-up: memory in MB, open files, connections to the database."""
        last = self.samples[-1].at
        samples = [sample for sample in self.samples if sample.at >= WARM_UP * last]
        times = [sample.at for sample in samples]
        return {
            "memory, MB": fit(times, [sample.memory / 1e6 for sample in samples]),
            "open files": fit(times, [float(sample.files) for sample in samples]),
            "connections": fit(times, [float(sample.connections) for sample in samples]),
        }

    def write(self, folder: Path, about: dict[str, object], row: table.Row) -> None:
        """The figures, a line a fault and a sample, and their picture."""
        (folder / PICTURE).parent.mkdir(parents=True, exist_ok=True)
        requests = [(each.sent_at - self._began_at, each.status) for each in self.experiment.journal.ended()]
        graph.draw(folder / PICTURE, self.samples, self.faults, requests)
        parts = {
            "machine": json.dumps(about, indent=1).replace("\n", "\n "),
            "row": json.dumps(asdict(row)),
            "fits": json.dumps({what: asdict(line) for what, line in self.fits().items()}),
            "faults": _lines(self.faults),
            "samples": _lines([(*asdict(sample).values(),) for sample in self.samples]),
        }
        text = ",\n ".join(f'"{name}": {part}' for name, part in parts.items())
        (folder / NAME).write_text(f"{{\n {text}\n}}\n")

    @contextmanager
    def _watched(self, port: int) -> Iterator[None]:
        task = asyncio.create_task(self._sample(port))
        try:
            yield
        finally:
            task.cancel()

    async def _sample(self, port: int) -> None:
        pids = [server.process.pid for server in self.experiment.servers]
        while True:
            held: Usage = await asyncio.to_thread(usage, pids, port, 0)
            at = time.monotonic() - self._began_at
            self.samples.append(Sample(round(at, 1), held.memory, held.files, held.connections))
            await asyncio.sleep(self.experiment.length(INTERVAL, 0.5))


def _lines(rows: Sequence[tuple[object, ...]]) -> str:
    return "[\n  " + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"


if __name__ == "__main__":
    sys.exit(stoppable(main))
