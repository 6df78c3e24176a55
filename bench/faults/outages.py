"""The database is gone, stalled, cut off, full, or refuses to write."""

import asyncio
import os
import signal
from contextlib import suppress

import pymysql

from bench.faults.experiment import Experiment, own_database
from service.localdb import LocalDatabase


async def kill(experiment: Experiment[LocalDatabase]) -> None:
    """SIGKILL of the database under load, and its restart; 20 times."""
    times = 2 if experiment.brief else 20
    async with experiment.under_load():
        for number in range(times):
            await kill_once(experiment, calm=10 if number == times - 1 else 2)
    experiment.evidence["kills"] = times


async def kill_once(experiment: Experiment[LocalDatabase], *, calm: float = 10) -> None:
    """SIGKILL of the database amid a load, and its restart."""
    async with experiment.fault(calm=calm) as window:
        window.restored_at = await _restart(experiment)


async def stop(experiment: Experiment[LocalDatabase]) -> None:
    """SIGSTOP of the database for 10 seconds."""
    async with experiment.under_load(), experiment.fault():
        os.kill(experiment.database.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(experiment.length(10, 3))
        finally:
            os.kill(experiment.database.pid, signal.SIGCONT)


async def late(experiment: Experiment[LocalDatabase]) -> None:
    """A database that comes 20 seconds after the service."""
    experiment.database.kill()
    async with experiment.under_load(cold=True), experiment.fault() as window:
        await asyncio.sleep(experiment.length(20, 3))
        starting = asyncio.create_task(asyncio.to_thread(experiment.database.start))
        window.restored_at = await experiment.until(experiment.administrator.pings)
        await starting


async def read_only(experiment: Experiment[LocalDatabase]) -> None:
    """read_only=1 for 6 seconds, as a server that is a replica now."""
    async with experiment.under_load(), experiment.fault():
        await asyncio.to_thread(experiment.administrator.ask, "set global read_only = 1")
        try:
            await asyncio.sleep(experiment.length(6, 2))
        finally:
            await asyncio.to_thread(experiment.administrator.ask, "set global read_only = 0")


async def half_open(experiment: Experiment[LocalDatabase]) -> None:
    """A network that takes whatever is sent and delivers nothing, for 8 seconds; what was open then stays dead."""
    async with experiment.network() as network, experiment.under_load(port=network.port), experiment.fault():
        experiment.evidence["connections that fell silent"] = network.freeze()
        await asyncio.sleep(experiment.length(8, 3))
        network.thaw()


async def disk_full(experiment: Experiment[LocalDatabase]) -> None:
    """A disk that is full, for 6 seconds after the first refusal; then the database is killed and has a larger one."""
    with own_database(experiment, *_disk(megabytes=40)) as database:
        async with experiment.under_load(), experiment.fault() as window:
            experiment.evidence["rows of others"] = await asyncio.to_thread(_fill, experiment)
            await experiment.until(lambda: experiment.journal.outcomes()["503"])
            await asyncio.sleep(experiment.length(6, 2))
            database.options = _disk(megabytes=400)
            window.restored_at = await _restart(experiment)


def _disk(*, megabytes: int) -> tuple[str, ...]:
    """All tables are in one file, which grows no further."""
    return ("--innodb-file-per-table=0", f"--innodb-data-file-path=ibdata1:12M:autoextend:max:{megabytes}M")


async def _restart(experiment: Experiment[LocalDatabase]) -> float:
    """Kills the database and starts it; returns the moment of its first answer."""
    experiment.database.kill()
    starting = asyncio.create_task(asyncio.to_thread(experiment.database.start))
    restored_at = await experiment.until(experiment.administrator.pings)
    await starting
    return restored_at


def _fill(experiment: Experiment[LocalDatabase]) -> int:
    """Writes until there is not even room for a small row."""
    ask = experiment.administrator.ask
    ask("create table auth.filler (id int primary key auto_increment, text varchar(1000)) engine = InnoDB")
    rows = 0
    for size in (1000, 100, 10, 1):
        with suppress(pymysql.OperationalError):  # 1114: the table is full
            while True:
                ask("insert into auth.filler (text) select repeat('x', 1000) from auth.seq_1_to_1000 limit %s", size)
                rows += size
    return rows
