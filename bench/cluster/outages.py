"""A node dies, stalls, or is left alone; a migration under way."""

import asyncio
import re
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from bench.cluster.front import Front
from bench.cluster.nodes import Node
from bench.faults.experiment import Experiment, Window
from bench.faults.journal import Journal
from bench.servers import ROOT, yoyo

_TWO: tuple[dict[str, str], ...] = ({}, {})  # processes of the service, both behind the same address
_ONLY_IST, _IST = "rsync IST completed", re.compile(r"Receiving IST: (\d+) writesets")
_MIGRATION = "alter table refresh_tokens add column of_a_later_release int;\n"


async def kill_node(experiment: Experiment[Front]) -> None:
    """SIGKILL of the node that serves, under load; then it comes back and is sent what it missed."""
    node, *others = experiment.database.cluster.nodes
    async with experiment.under_load(each=_TWO):
        await experiment.until(partial(_serves, node))
        async with experiment.fault() as window:
            node.kill()
            await _go_on(experiment, window, others)
        await _rejoin(experiment, 0)


async def stall_node(experiment: Experiment[Front]) -> None:
    """SIGSTOP of the node that serves, for 10 seconds."""
    await _stall(experiment, 0)


async def stall_another(experiment: Experiment[Front]) -> None:
    """SIGSTOP for 10 seconds of a node that nobody asks: the others wait for it before they go on without it."""
    await _stall(experiment, 2)


async def _stall(experiment: Experiment[Front], number: int) -> None:
    others = list(experiment.database.cluster.nodes)
    node = others.pop(number)
    async with experiment.under_load(each=_TWO):
        if number == 0:
            await experiment.until(partial(_serves, node))
        async with experiment.fault() as window:
            node.freeze()
            await _go_on(experiment, window, others)
            await asyncio.sleep(experiment.length(10, 3) - (window.restored_at - window.began_at))
            node.thaw()
            await experiment.until(lambda: others[0].status("wsrep_cluster_size") == "3")
        await experiment.until(lambda: node.status("wsrep_local_state_comment") == "Synced")


async def _go_on(experiment: Experiment[Front], window: Window, others: Sequence[Node]) -> None:
    """Waits until the others are the cluster: as long as that takes, whoever writes waits for it."""
    for other in others:
        await experiment.until(partial(_is_one_of, other, len(others)))
    window.restored_at = time.monotonic()
    experiment.evidence["seconds until the others went on"] = round(window.restored_at - window.began_at, 2)


def _serves(node: Node) -> bool:
    """Whether the service has come back to it, after the fault before."""
    return bool(node.ask("select 1 from information_schema.processlist where user = 'auth' limit 1"))


def _is_one_of(node: Node, members: int) -> bool:
    return node.status("wsrep_cluster_size") == str(members) and node.status("wsrep_cluster_status") == "Primary"


async def lose_two(experiment: Experiment[Front]) -> None:
    """SIGKILL of two nodes; the third alone is no majority. 10 s later it is told to be one, and the others join it."""
    left, *lost = experiment.database.cluster.nodes
    async with experiment.under_load(each=_TWO):
        async with experiment.fault() as window:
            for node in lost:
                node.kill()
            await experiment.until(lambda: left.status("wsrep_cluster_status") == "non-Primary")
            alone_at = time.monotonic()
            await asyncio.sleep(experiment.length(10, 3))
            experiment.evidence["answered without a majority"] = _answered(experiment.journal, alone_at)
            left.ask("set global wsrep_provider_options = 'pc.bootstrap=YES'")
            await experiment.until(lambda: left.status("wsrep_ready") == "ON")
            window.restored_at = time.monotonic()
        for number in (1, 2):
            await _rejoin(experiment, number)


async def migrate_under_load(experiment: Experiment[Front]) -> None:
    """`yoyo apply` of a migration that adds a column, on all nodes in the same place among all writes (TOI)."""
    with TemporaryDirectory() as folder:
        sources = Path(folder) / "sql"
        copytree(ROOT / "sql", sources)
        (sources / "0005.add-column.sql").write_text(f"-- depends: 0004.create-revocations\n{_MIGRATION}")
        (sources / "0005.add-column.rollback.sql").write_text(
            "alter table refresh_tokens drop column of_a_later_release;\n"
        )
        async with experiment.under_load(each=_TWO), experiment.fault() as window:
            window.restored_at = time.monotonic()
            await asyncio.to_thread(yoyo, experiment.database.url, "apply", str(sources))
            await asyncio.sleep(1)
            await asyncio.to_thread(
                yoyo, experiment.database.url, "rollback", "--revision", "0005.add-column", str(sources)
            )


async def _rejoin(experiment: Experiment[Front], number: int) -> None:
    """Starts a node again, under load, and notes how it caught up."""
    node = experiment.database.cluster.nodes[number]
    began, seen = time.monotonic(), len(node.log.read_text())
    await asyncio.to_thread(node.start)
    said = node.log.read_text()[seen:]
    how = f"IST of {' and '.join(_IST.findall(said))} writesets" if _ONLY_IST in said else "SST"
    experiment.evidence[f"node {number + 1} joined again"] = f"by {how} in {time.monotonic() - began:.1f} s"


def _answered(journal: Journal, since: float) -> dict[str, int]:
    """Who was told what, of the requests sent since a moment."""
    told: dict[str, int] = {}
    for each in journal.ended():
        if each.sent_at >= since:
            kind = f"{each.step if each.step == 'verify' else 'others'} {each.status or each.trouble}"
            told[kind] = told.get(kind, 0) + 1
    return dict(sorted(told.items()))
