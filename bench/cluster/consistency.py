"""What one node was told, asked at another: services that have a node each."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pymysql

from bench.cluster.nodes import Cluster
from bench.faults.experiment import SETTINGS
from bench.faults.verdict import REVOCATION_INTERVAL
from bench.plan import BOTH
from bench.rows import add_expired, count_expired
from bench.seed import PASSWORD
from bench.servers import ROOT, SERVICE, Server, environment

AT_ONCE = 8
RIVALS = 30  # who want one name
EXPIRED = 20_000  # sessions


@dataclass
class Rounds:
    """What went wrong in rounds of login, refresh and logout, each at another node; `refreshes` are milliseconds."""

    spurious: int = 0  # a login that was answered, whose token another node does not know
    resurrected: int = 0  # a logout that was answered, whose token another node refreshes
    late: int = 0  # whose access token another process still takes after the interval
    refused: int = 0  # any other answer than these, and than what was wanted
    refreshes: list[float] = field(default_factory=list)


@asynccontextmanager
async def services(cluster: Cluster, log: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of a service at each node."""
    async with AsyncExitStack() as stack:
        clients = []
        for node in cluster.nodes:
            settings = {**SETTINGS, "DATABASE_URL": cluster.url(node.address)}
            server = await asyncio.to_thread(stack.enter_context, Server(SERVICE, BOTH, settings, log=log))
            clients.append(await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=30)))
        yield clients


async def rounds(cluster: Cluster, clients: Sequence[httpx.AsyncClient], count: int, *, sync_wait: int) -> Rounds:
    """So many rounds: login at one node, refresh at another, logout at the first, refresh at the third, verify at both.

    Nodes take turns.
    """
    for node in cluster.nodes:
        await asyncio.to_thread(node.ask, f"set global wsrep_sync_wait = {sync_wait}")
    await asyncio.to_thread(reconnect, cluster)
    found, numbers = Rounds(), iter(range(count))
    users = [f"round-{sync_wait}-{number}" for number in range(AT_ONCE)]
    for name in users:
        (await clients[0].post("/auth/signup", json={"username": name, "password": PASSWORD})).raise_for_status()

    async def one_after_the_other(name: str) -> None:
        for number in numbers:
            turn = [clients[(number + step) % len(clients)] for step in range(len(clients))]
            await _round(found, name, *turn)

    await asyncio.gather(*map(one_after_the_other, users))
    return found


async def _round(
    found: Rounds, name: str, first: httpx.AsyncClient, second: httpx.AsyncClient, third: httpx.AsyncClient
) -> None:
    login = await first.post("/auth/login", json={"username": name, "password": PASSWORD})
    if login.status_code != 200:
        found.refused += 1
        return
    pair = login.json()
    refresh_token = {"refreshToken": pair["refreshToken"]}
    began = time.perf_counter()
    refreshed = await third.post("/auth/refresh", json=refresh_token)
    found.refreshes.append((time.perf_counter() - began) * 1000)
    logout = await first.post("/auth/logout", json=refresh_token)
    ended_at = time.monotonic()
    again = await second.post("/auth/refresh", json=refresh_token)
    await asyncio.sleep(max(0.0, ended_at + REVOCATION_INTERVAL - time.monotonic()))
    bearer = {"Authorization": f"Bearer {pair['token']}"}
    verified = [await client.get("/auth/verify", headers=bearer) for client in (second, third)]
    found.spurious += refreshed.status_code == 401
    found.refused += refreshed.status_code not in {200, 401}
    found.refused += logout.status_code != 200
    found.resurrected += again.status_code == 200
    found.late += sum(answer.status_code == 200 for answer in verified)
    found.refused += sum(answer.status_code not in {200, 401} for answer in (again, *verified))


def reconnect(cluster: Cluster) -> None:
    """A session keeps the settings it began with: all of the service's begin anew."""
    for node in cluster.nodes:
        for (number,) in node.ask("select id from information_schema.processlist where user = 'auth'"):
            with suppress(pymysql.OperationalError):  # it has ended by itself
                node.ask(f"kill {number}")


async def one_name(clients: Sequence[httpx.AsyncClient], name: str) -> Counter[int]:
    """How RIVALS signups of one name at once are answered, over all nodes in turn."""
    turns = itertools.islice(itertools.cycle(clients), RIVALS)
    body = {"username": name, "password": PASSWORD}
    answers = await asyncio.gather(*(client.post("/auth/signup", json=body) for client in turns))
    return Counter(answer.status_code for answer in answers)


def purged_at_once(cluster: Cluster) -> dict[str, object]:
    """What `mstack-auth purge` at each node at once comes to: of all expired sessions, none may stay."""
    url = cluster.url(cluster.nodes[0].address)
    add_expired(url, EXPIRED, users=AT_ONCE)
    program = Path(sys.executable).with_name("mstack-auth")
    running = [
        subprocess.Popen(
            [program, "purge", "--json"],
            cwd=ROOT,
            env=environment(DATABASE_URL=cluster.url(node.address)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for node in cluster.nodes
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    return {
        "exit codes": [process.returncode for process in running],
        "deleted": [json.loads(output)["sessions"] for output, _ in outputs],
        "left": count_expired(url),
    }
