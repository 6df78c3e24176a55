"""A rotation of what signs, under load: nobody notices anything. In the steps, and in the order, of the README.

Two service processes on one database are replaced one after the other, as an operator of several does, while clients
verify and refresh without a pause, each request at another process.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import jwt
import pytest

from service.localdb import LocalDatabase
from tests.operators import Operator
from tests.server import SECRET, Server

PASSWORD = "correct horse battery"
CLIENTS = 3
NEW_SECRET = "another-secret-for-tests-only-0123456789"
JWKS = "/.well-known/jwks.json"


@dataclass
class Fleet:
    """The processes behind one address: each request goes to the next one, and none to one that is about to stop."""

    database_url: str
    folder: Path
    servers: list[Server] = field(default_factory=list)
    turn: "itertools.count[int]" = field(default_factory=itertools.count)
    busy: Counter[str] = field(default_factory=Counter)

    @asynccontextmanager
    async def pick(self) -> AsyncIterator[str]:
        url = self.servers[next(self.turn) % len(self.servers)].url
        self.busy[url] += 1
        try:
            yield url
        finally:
            self.busy[url] -= 1

    async def start(self, **settings: str) -> None:
        folder = self.folder / f"server-{next(self.turn)}"
        folder.mkdir()
        server = Server(self.database_url, folder, **settings)
        await asyncio.to_thread(server.__enter__)
        self.servers.append(server)

    async def stop_oldest(self) -> None:
        server = self.servers.pop(0)
        while self.busy[server.url]:
            await asyncio.sleep(0.005)
        assert await asyncio.to_thread(server.stop) == 0

    async def replace(self, **settings: str) -> None:
        """Each process by one with other settings, one after the other."""
        for _ in range(2):
            await self.start(**settings)
            await self.stop_oldest()


@dataclass
class Load:
    """What the clients did, and what went wrong."""

    fleet: Fleet
    http: httpx.AsyncClient
    done: Counter[str] = field(default_factory=Counter)
    failures: list[object] = field(default_factory=list)

    async def log_in(self, name: str) -> dict[str, str]:
        async with self.fleet.pick() as url:
            credentials = {"username": name, "password": PASSWORD}
            await self.http.post(f"{url}/auth/signup", json=credentials)
            pair: dict[str, str] = (await self.http.post(f"{url}/auth/login", json=credentials)).json()
            return pair

    async def verify(self, token: str) -> None:
        async with self.fleet.pick() as url:
            answer = await self.http.get(f"{url}/auth/verify", headers={"Authorization": f"Bearer {token}"})
        self._count("verify", answer, token)

    async def refresh(self, token: str) -> dict[str, str] | None:
        async with self.fleet.pick() as url:
            answer = await self.http.post(f"{url}/auth/refresh", json={"refreshToken": token})
        self._count("refresh", answer, token)
        return answer.json() if answer.status_code == 200 else None

    def _count(self, what: str, answer: httpx.Response, token: str) -> None:
        self.done[what] += 1
        self.done[f"{what} of {jwt.get_unverified_header(token)['alg']}"] += 1
        if answer.status_code != 200:
            self.failures.append((what, jwt.get_unverified_header(token), answer.status_code, answer.text))

    async def run(self, pair: dict[str, str]) -> None:
        """One client, for ever: it verifies what it has, renews it, and still verifies what it had."""
        while True:
            await self.verify(pair["token"])
            renewed = await self.refresh(pair["refreshToken"])
            await self.verify(pair["token"])
            pair = renewed or pair
            await asyncio.sleep(0.01)  # so that the processes that start meanwhile get a core


@asynccontextmanager
async def under_load(fleet: Fleet) -> AsyncIterator[Load]:
    async with httpx.AsyncClient(timeout=30) as http:
        load = Load(fleet, http)
        pairs = [await load.log_in(f"rotated-{number}") for number in range(CLIENTS)]
        tasks = [asyncio.create_task(load.run(pair)) for pair in pairs]
        try:
            yield load
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error for error in ended if not isinstance(error, asyncio.CancelledError)] == []


@pytest.fixture
async def fleet(mariadb: LocalDatabase, tmp_path: Path) -> AsyncIterator[Fleet]:
    found = Fleet(mariadb.url, tmp_path)
    async with AsyncExitStack() as stack:
        stack.callback(lambda: [server.stop() for server in found.servers if server.process.poll() is None])
        yield found


async def everywhere(fleet: Fleet, http: httpx.AsyncClient, kid: str) -> None:
    """Waits until all processes publish a key."""
    async with asyncio.timeout(20):
        for server in fleet.servers:
            while kid not in (await http.get(server.url + JWKS)).text:
                await asyncio.sleep(0.05)


@pytest.mark.repeated
async def test_nobody_notices_a_rotation(fleet: Fleet, tmp_path: Path) -> None:
    """HS256 old to new, HS256 to ES256, ES256 one key to another: no failed verify or refresh, no session lost."""
    operator = Operator(tmp_path / "keys", JWT_ALGORITHM="ES256")
    await asyncio.gather(fleet.start(), fleet.start())
    async with under_load(fleet) as load:
        kept = {"the old secret": await load.log_in("rotated-sleeper")}  # one client that sleeps through each step
        # Another secret, and a first key on the way.
        first = await asyncio.to_thread(operator.run, "new")
        keys = {"JWT_KEYS": str(operator.folder)}
        await fleet.replace(JWT_SECRET=SECRET, JWT_SECRET_PREVIOUS=NEW_SECRET, **keys)
        await fleet.replace(JWT_SECRET=NEW_SECRET, JWT_SECRET_PREVIOUS=SECRET, **keys)
        kept["the new secret"] = await load.log_in("rotated-sleeper")
        # From secrets to keys.
        secrets = {"JWT_SECRET": NEW_SECRET, "JWT_SECRET_PREVIOUS": SECRET}
        await fleet.replace(JWT_ALGORITHM="ES256", **secrets, **keys)
        kept[first] = await load.log_in("rotated-sleeper")
        assert jwt.get_unverified_header(kept[first]["token"])["kid"] == first
        # Another key: published everywhere, and only then forced to sign before its time.
        second = await asyncio.to_thread(operator.run, "new")
        await everywhere(fleet, load.http, second)
        await asyncio.to_thread(operator.run, "activate", second, "--force")
        for server in fleet.servers:
            await server.logs(f'"signing":"{second}"')
        kept[second] = await load.log_in("rotated-sleeper")
        assert jwt.get_unverified_header(kept[second]["token"])["kid"] == second
        for pair in kept.values():
            await load.verify(pair["token"])
            renewed = await load.refresh(pair["refreshToken"])
            assert renewed
            assert jwt.get_unverified_header(renewed["token"])["kid"] == second
    assert load.failures == []
    assert load.done["verify of HS256"] > 100
    assert load.done["refresh of ES256"] > 20
