"""python -m bench.cluster: the service on a Galera Cluster of three nodes, which is broken under load."""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import quantiles
from typing import Any

from bench import results
from bench.cluster import consistency, outages
from bench.cluster.front import Front, front
from bench.cluster.nodes import SEES_ALL
from bench.cluster.speed import speed
from bench.faults import table as faults
from bench.faults.experiment import Experiment
from bench.faults.options import options
from bench.progress import clear, say
from bench.stop import stoppable
from bench.table import summarise, text
from service.mariadb import LocalDatabaseError

OUTAGES: dict[str, Callable[[Experiment[Front]], Coroutine[Any, Any, None]]] = {
    "kill-node": outages.kill_node,
    "stall-node": outages.stall_node,
    "stall-another": outages.stall_another,
    "lose-two": outages.lose_two,
    "migration": outages.migrate_under_load,
}
PARTS = ("consistency", *OUTAGES, "speed")
NAME = "cluster.json"


def main() -> int:
    """Returns 1 when a promise was broken, and 2 for a bad command."""
    asked = options("python -m bench.cluster", __doc__, PARTS, NAME)
    wanted = asked.only or PARTS
    kept = True
    found: dict[str, object] = {"machine": results.machine()}
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = asked.keep or Path(name)
            say("starting three nodes")
            with front(Path(name)) as database:
                if "consistency" in wanted:
                    said = asyncio.run(_consistency(database, folder, brief=asked.quick))
                    found["consistency"] = said
                    kept &= _is_consistent(said)
                    clear()
                    sys.stdout.write("\n".join(f"{key}: {value}" for key, value in said.items()) + "\n")
                rows = list(_break(database, [each for each in OUTAGES if each in wanted], folder, asked.quick))
                found["faults"] = [asdict(row) for row in rows]
                kept &= all(row.kept and row.evidence["nodes agree"] for row in rows)
                clear()
                sys.stdout.write(faults.text(rows) if rows else "")
                sys.stdout.writelines(f"  {row.fault}: {row.evidence}\n" for row in rows)
                if "speed" in wanted:
                    rounds, seconds = (1, 1) if asked.quick else (3, 5)
                    say("speed")
                    figures = summarise(list(speed(database.cluster, Path(name), rounds=rounds, seconds=seconds)))
                    found["speed"] = [asdict(row) for row in figures]
                    kept &= not any(row.failed for row in figures)
                    clear()
                    sys.stdout.write(text(figures))
    except (LocalDatabaseError, FileNotFoundError) as error:
        sys.stderr.write(f"bench.cluster: {error}\n")
        return 1
    if asked.into or not (asked.only or asked.quick):
        into = asked.into or results.BENCH
        (into / NAME).write_text(json.dumps(found, indent=1, default=str) + "\n")
    return int(not kept)


async def _consistency(database: Front, folder: Path, *, brief: bool) -> dict[str, object]:
    said: dict[str, object] = {}
    cluster = database.cluster
    count, names = (24, 1) if brief else (1000, 10)
    async with consistency.services(cluster, folder / "consistency.log") as clients:
        for sync_wait in (SEES_ALL, 0):
            say(f"{count} rounds, wsrep_sync_wait={sync_wait}")
            done = await consistency.rounds(cluster, clients, count, sync_wait=sync_wait)
            cuts = quantiles(done.refreshes, n=100, method="inclusive")
            said[f"{count} rounds, wsrep_sync_wait={sync_wait}"] = {
                "spurious": done.spurious,
                "resurrected": done.resurrected,
                "late": done.late,
                "refused": done.refused,
                "refresh p50 ms": round(cuts[49], 2),
                "refresh p99 ms": round(cuts[98], 2),
            }
        say("one name, three nodes")
        for node in cluster.nodes:
            await asyncio.to_thread(node.ask, f"set global wsrep_sync_wait = {SEES_ALL}")
        await asyncio.to_thread(consistency.reconnect, cluster)
        said["30 signups of one name"] = [
            dict(await consistency.one_name(clients, f"rival-{number}")) for number in range(names)
        ]
        said["purge at each node"] = await asyncio.to_thread(consistency.purged_at_once, cluster)
    return said


def _is_consistent(said: dict[str, object]) -> bool:
    """Of what must hold: with wsrep_sync_wait nothing is seen late, a name has one owner, nothing expired is left."""
    seen = next(value for key, value in said.items() if key.endswith(f"wsrep_sync_wait={SEES_ALL}"))
    assert isinstance(seen, dict)
    signups = said["30 signups of one name"]
    assert isinstance(signups, list)
    purged = said["purge at each node"]
    assert isinstance(purged, dict)
    nothing_late = not (seen["spurious"] or seen["resurrected"] or seen["late"] or seen["refused"])
    every_one = purged["left"] == 0 and not any(purged["exit codes"]) and sum(purged["deleted"]) == consistency.EXPIRED
    return nothing_late and every_one and all(each == {200: 1, 409: 29} for each in signups)


def _break(database: Front, names: Sequence[str], folder: Path, brief: bool) -> Iterator[faults.Row]:
    for name in names:
        say(name)
        experiment = Experiment(name, database, folder, brief=brief)
        asyncio.run(OUTAGES[name](experiment))
        experiment.evidence["nodes agree"] = len(set(database.cluster.checksums())) == 1
        yield faults.row_of(experiment, (OUTAGES[name].__doc__ or "").strip())


if __name__ == "__main__":
    sys.exit(stoppable(main))
