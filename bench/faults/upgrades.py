"""Migrations that are cut off, and several at once."""

import asyncio
import subprocess
import sys
from functools import partial
from pathlib import Path

from bench.faults.experiment import Experiment, own_database
from bench.servers import ROOT, environment, migrate
from service.localdb import LocalDatabase

AT_ONCE = 5
DELAYS = (0, 10, 20, 40, 60, 80, 100, 150, 200, 300)  # milliseconds after it has taken its lock
LONGEST = 60  # seconds


async def cut_off(experiment: Experiment[LocalDatabase]) -> None:
    """`yoyo apply` killed on its way ten times, and mended as the README says; then the service runs on the schema."""
    remedies: list[str] = []
    with own_database(experiment, migrated=False) as database:
        for delay in DELAYS[:: 1 if not experiment.brief else 5]:
            experiment.administrator.ask("drop database auth")
            experiment.administrator.ask("create database auth")
            apply = _yoyo(database.url, "apply")
            await experiment.until(partial(_is_under_way, experiment, apply), LONGEST)
            await asyncio.sleep(delay / 1000)
            apply.kill()
            apply.wait()
            remedies.append(await asyncio.to_thread(_mend, experiment, database.url))
        experiment.evidence["remedies"] = remedies
        async with experiment.under_load(), experiment.fault():
            pass


def _mend(experiment: Experiment[LocalDatabase], url: str) -> str:
    """Breaks the lock and applies; where yoyo was killed while it made its own tables, drops those first."""
    if _yoyo(url, "apply").wait(LONGEST) == 0:
        return "none"
    assert _yoyo(url, "break-lock").wait(LONGEST) == 0
    if _yoyo(url, "apply").wait(LONGEST) == 0:
        return "break-lock"
    experiment.administrator.ask("drop table if exists auth._yoyo_log, auth._yoyo_migration, auth._yoyo_version")
    migrate(url)
    return "break-lock and drop table"


async def at_once(experiment: Experiment[LocalDatabase]) -> None:
    """Five `yoyo apply` at once on an empty database; then the service runs on the schema."""
    with own_database(experiment, migrated=False) as database:
        applies = [_yoyo(database.url, "apply") for _ in range(AT_ONCE)]
        codes = await asyncio.gather(*(asyncio.to_thread(apply.wait, LONGEST) for apply in applies))
        experiment.evidence["exit codes"] = codes
        async with experiment.under_load(), experiment.fault():
            pass


def _yoyo(url: str, command: str) -> subprocess.Popen[bytes]:
    yoyo = Path(sys.executable).with_name("yoyo")
    return subprocess.Popen(
        [yoyo, command, "--batch"],
        cwd=ROOT,
        env=environment(DATABASE_URL=url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _tables(experiment: Experiment[LocalDatabase]) -> list[str]:
    rows = experiment.administrator.ask("select table_name from information_schema.tables where table_schema = 'auth'")
    return [row[0] for row in rows]


def _is_under_way(experiment: Experiment[LocalDatabase], apply: subprocess.Popen[bytes]) -> bool:
    """It holds the lock in the database, or has ended."""
    if apply.poll() is not None:
        return True
    return "yoyo_lock" in _tables(experiment) and bool(experiment.administrator.ask("select 1 from auth.yoyo_lock"))
