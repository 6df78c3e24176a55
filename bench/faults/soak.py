"""python -m bench.faults.soak: half an hour of load with a fault each minute. Nothing is lost, and nothing may grow."""

import argparse
import asyncio
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import cycle, islice
from math import inf
from pathlib import Path

from bench import results
from bench.faults import contention, graph, outages, processes, table
from bench.faults.clients import Load
from bench.faults.experiment import POOL_SIZE, Experiment
from bench.faults.growth import Fault, Sample, Seen
from bench.faults.journal import Journal
from bench.faults.requests import Service, Session
from bench.faults.usage import usage
from bench.faults.verdict import REVOCATION_INTERVAL, resurrected
from bench.progress import clear, say
from bench.servers import migrate
from bench.stop import stoppable
from service.localdb import LocalDatabase, local_database
from service.mariadb import LocalDatabaseError

# Those that leave the process of the service alone: it is its memory that is watched.
FAULTS: dict[str, Callable[[Experiment[LocalDatabase]], Awaitable[None]]] = {
    "kill": outages.kill_once,
    "half-open": outages.half_open,
    "idle-connections": contention.idle_connections,
    "few-connections": contention.few_connections,
    "stop": outages.stop,
    "read-only": outages.read_only,
    "locked-tables": contention.locked_tables,
    "locked-rows": contention.locked_rows,
    "deadlocks": contention.deadlocks,
    "killed-connections": contention.killed_connections,
    "impatient-clients": processes.impatient_clients,
}
QUICK = 4  # of them
LEAST = 3 * len(FAULTS)  # minutes: the first of each are the warm-up, and each is compared with its next
SETTINGS = {"JWT_EXPIRY": "4m"}  # an ended session takes memory for ten minutes then, which is less than a cycle
LATELY = 200.0  # seconds; the access tokens of sessions that ended since then have not expired
ASKED = 100  # of the sessions that ended lately, after each fault
LOGINS = 10  # of each user: who is asked for afterwards, each at the price of a hash
EVERY, INTERVAL = 60.0, 5.0  # seconds from one fault to the next, and from one sample to the next
NAME, PICTURE = "soak.json", "pictures/soak.svg"


def main() -> int:
    """Returns 1 when a promise was broken, something grew or a fault was none, and 2 for a bad command."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=LEAST, metavar="N", help=f"{LEAST}, the default, or more")
    parser.add_argument("--quick", action="store_true", help="a few short faults, to see that it works")
    parser.add_argument("--into", type=results.folder, metavar="FOLDER", help=f"keeps {NAME} and its picture there")
    parser.add_argument("--keep", type=results.folder, metavar="FOLDER", help="keeps the journals and the log there")
    asked = parser.parse_args()
    if asked.minutes < LEAST:
        parser.error(f"in less than {LEAST} minutes nothing can be said of growth")
    about = results.machine()
    with tempfile.TemporaryDirectory() as name:
        folder = asked.keep or Path(name)
        try:
            with local_database(Path(name) / "mariadb") as database:
                migrate(database.url)
                soak = Soak(Experiment("soak", database, folder, brief=asked.quick))
                try:
                    asyncio.run(soak.run(QUICK if asked.quick else asked.minutes))
                except Exception as error:  # whatever it is, what was seen until now is worth having
                    traceback.print_exc()
                    soak.troubles.append(f"it ended early: {error!r}")
        except LocalDatabaseError as error:
            sys.stderr.write(f"bench.faults.soak: {error}\n")
            return 1
    clear()
    soak.experiment.evidence = {}  # that of the last fault
    row = table.row_of(soak.experiment, (__doc__ or "").strip()) if soak.experiment.verdict else None
    troubles = [*soak.troubles, *(() if asked.quick else soak.seen.growth())]
    sys.stdout.write(table.text([row] if row else []) + soak.seen.text() + "".join(f"  {each}\n" for each in troubles))
    if asked.into or not asked.quick:
        into = asked.into or results.BENCH
        (into / PICTURE).parent.mkdir(parents=True, exist_ok=True)
        soak.seen.write(into / NAME, about, row)
        if soak.seen.samples:
            graph.draw(into / PICTURE, soak.seen, soak.answers())
    return int(not (row and row.kept) or bool(troubles))


class Soak:
    """One load through which the faults go in turn; `seen` is what became of it, and `troubles` what was wrong."""

    def __init__(self, experiment: Experiment[LocalDatabase]) -> None:
        self.experiment = experiment
        self.seen = Seen(len(FAULTS), warm_up=experiment.length(len(FAULTS) * EVERY, 0))
        self.troubles: list[str] = []
        self._began_at = time.monotonic()

    async def run(self, faults: int) -> None:
        """To the last fault; then the comparison of what both sides say. Raises what a fault raises."""
        checks = Journal(self.experiment.folder / "soak-risen.jsonl")
        async with (
            self.experiment.network() as network,
            self.experiment.under_load(port=network.port, logins=LOGINS, each=[SETTINGS]) as load,
        ):
            self._began_at = time.monotonic()
            with checks:
                async with (
                    Service([server.url for server in self.experiment.servers], checks) as service,
                    self._watched(network.port),
                ):
                    await self._break(list(islice(cycle(FAULTS), faults)), load, service)
            say("asking for each user and each session")

    def answers(self) -> list[tuple[float, int | None]]:
        """Seconds from the beginning and status of each request."""
        return [(each.sent_at - self._began_at, each.status) for each in self.experiment.journal.ended()]

    async def _break(self, names: list[str], load: Load, service: Service) -> None:
        for number, name in enumerate(names):
            say(f"fault {number + 1} of {len(names)}: {name}")
            self.experiment.evidence = {}
            await FAULTS[name](self.experiment)
            self._note(name)
            if self.experiment.servers[0].process.poll() is not None:
                raise RuntimeError(f"the service ended at {name}")
            if risen := await resurrected(service, _ended_lately(load)):
                self.troubles.append(f"{risen} sessions came back after {name}")
            every = self.experiment.length(EVERY, 0)
            await asyncio.sleep(self._began_at + (number + 1) * every - time.monotonic())

    def _note(self, name: str) -> None:
        window = self.experiment.windows[-1]
        recovery = None if window.recovery == inf else round(window.recovery, 2)
        began_at = round(window.began_at - self._began_at, 1)
        self.seen.faults.append(Fault(name, began_at, recovery, self.experiment.evidence))
        if recovery is None:
            self.troubles.append(f"clients saw errors for ever after {name}")
        if 0 in self.experiment.evidence.values():
            self.troubles.append(f"{name} broke nothing: {self.experiment.evidence}")

    @asynccontextmanager
    async def _watched(self, port: int) -> AsyncIterator[None]:
        task = asyncio.create_task(self._sample(port))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _sample(self, port: int) -> None:
        [server] = self.experiment.servers
        while server.process.poll() is None:
            held = await asyncio.to_thread(usage, [server.process.pid], port)
            at = time.monotonic() - self._began_at
            self.seen.samples.append(Sample(round(at, 1), held.memory, held.files, held.connections))
            if held.connections > POOL_SIZE + 1:
                self.troubles.append(f"{held.connections} connections after {at:.0f} s")
            await asyncio.sleep(self.experiment.length(INTERVAL, 0.5))


def _ended_lately(load: Load) -> list[Session]:
    """Some of those whose logout all processes must know of, and whose access tokens have not expired."""
    now = time.monotonic()
    sessions = [session for user in load.users for session in user.sessions if session.ended_at is not None]
    lately = [each for each in sessions if LATELY > now - (each.ended_at or now) > REVOCATION_INTERVAL]
    return lately[:: max(1, len(lately) // ASKED)]


if __name__ == "__main__":
    sys.exit(stoppable(main))
