"""One fault and what it is done to: a database, the service on it, and the load of the clients."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Generic, Protocol, TypeVar

from bench.database import Administrator
from bench.faults.clients import Load
from bench.faults.journal import Journal
from bench.faults.proxy import Proxy
from bench.faults.requests import Service
from bench.faults.usage import Usage, leaks, usage
from bench.faults.verdict import Verdict, compare
from bench.plan import BOTH
from bench.seed import SECRET
from bench.servers import SERVICE, Server, migrate
from service.localdb import LocalDatabase, local_database

CLIENTS, FEW_CLIENTS = 16, 4
LONGEST_RECOVERY = 30.0  # seconds; after that it is no recovery
POOL_SIZE = 10
SETTINGS = {
    "JWT_SECRET": SECRET,
    "JWT_EXPIRY": "30m",  # none expires meanwhile: an end that is forgotten would show
    "BCRYPT_ROUNDS": "10",
    "HASH_THREADS": "1",  # the rest of the machine is for the clients and the database
    "HASH_QUEUE": "16",  # as many as there are clients; which is served well within their deadline
    "POOL_SIZE": str(POOL_SIZE),
    "RATE_LIMITS": "off",
    "SHUTDOWN_DELAY": "0",
}


@dataclass(slots=True)
class Window:
    """When a fault began and when the database answered again; `recovery` is from then to the first calm, in seconds.

    It is infinite where no calm came.
    """

    began_at: float
    restored_at: float = float("inf")
    recovery: float = float("inf")


class Served(Protocol):
    """A database, wherever it is: `socket` is the administrator's way to it, `url` and `port` the service's."""

    @property
    def socket(self) -> Path: ...

    @property
    def url(self) -> str: ...

    @property
    def port(self) -> int: ...


D = TypeVar("D", bound=Served)


class Experiment(Generic[D]):
    """What a fault works on. `brief` is for a run that shows that all this works; `evidence` says that it was real."""

    def __init__(self, name: str, database: D, folder: Path, *, brief: bool) -> None:
        self.name = name
        self.database = database
        self.brief = brief
        self.windows: list[Window] = []
        self.evidence: dict[str, object] = {}
        self.servers: list[Server] = []
        self.verdict: Verdict | None = None
        self.folder = folder
        self.log = folder / f"{name}.log"
        self.log.unlink(missing_ok=True)
        self.journal = Journal(folder / f"{name}.jsonl")
        self._network: Proxy | None = None
        self._load: Load | None = None

    @property
    def administrator(self) -> Administrator:
        return Administrator(self.database.socket)

    def length(self, seconds: float, brief: float) -> float:
        return brief if self.brief else seconds

    @asynccontextmanager
    async def network(self) -> AsyncIterator[Proxy]:
        """A way to the database that can fall silent; within another, that one."""
        if self._network is not None:
            yield self._network
            return
        async with Proxy(self.database.port) as network:
            self._network = network
            try:
                yield network
            finally:
                self._network = None

    @asynccontextmanager
    async def under_load(
        self,
        *options: str,
        each: Sequence[dict[str, str]] = ({},),
        port: int | None = None,
        cold: bool = False,
        skewed: bool = False,
        logins: int = 1,
        **settings: str,
    ) -> AsyncIterator[Load]:
        """Runs the service and its clients; at the end compares what both say. Within another load, that one goes on.

        `each` are further settings of each process; `port` is where they find the database, if not at its own; `cold`
        begins at once, as the database is not there yet; `skewed` are the clocks of processes; `logins` are those of
        each user.
        """
        if self._load is not None:
            yield self._load
            return
        url = re.sub(r":\d+/", f":{port or self.database.port}/", self.database.url)
        pool = (int(settings.get("POOL_SIZE", POOL_SIZE)) + 1) * (2 if "--workers" in options else len(each))
        clients = FEW_CLIENTS if self.brief else CLIENTS
        async with AsyncExitStack() as stack:
            self._stack = stack.enter_context(ExitStack())
            for more in each:
                self._settings = {**SETTINGS, "DATABASE_URL": url, **settings, **more}
                await asyncio.to_thread(self.start_another, *options)
            warm_up, checks = (stack.enter_context(Journal(self._journal_of(part))) for part in ("warm-up", "checks"))
            stack.enter_context(self.journal)
            async with Service([server.url for server in self.servers], warm_up) as warm:
                if not cold:
                    async with Load(warm, f"{self.name}-warm", clients, skewed=skewed):
                        await asyncio.sleep(self.length(2, 0.5))
            before = None if cold else await self._usage_at_rest(port or self.database.port)
            async with (
                Service(warm.urls, self.journal) as service,
                Load(service, f"{self.name}-user", clients, skewed=skewed, logins=logins) as load,
            ):
                self._load = load
                if not cold:
                    await asyncio.sleep(self.length(3, 0.5))
                    await self.until(load.has_sessions)
                try:
                    yield load
                finally:
                    self._load = None
            found = await self._leaks(before, port or self.database.port, pool) if before else []
            stored = await asyncio.to_thread(self.administrator.sessions, f"{self.name}-user-%")
            async with Service(warm.urls, checks) as service:
                self.verdict = await compare(service, load.users, stored, self.journal, self.log.read_text(), found)

    def start_another(self, *options: str, port: int | None = None) -> None:
        """Starts a process of the service, set as the one before; it ends with the load."""
        options = ("--timeout-graceful-shutdown", "10", *options)
        server = Server(SERVICE, BOTH, self._settings, *options, port=port, log=self.log)
        self.servers.append(self._stack.enter_context(server))

    @asynccontextmanager
    async def fault(self, *, calm: float = 10) -> AsyncIterator[Window]:
        """While a fault lasts; then it waits for the database, unless that is known to be back, and for the calm."""
        window = Window(time.monotonic())
        self.windows.append(window)
        yield window
        if window.restored_at == float("inf"):
            window.restored_at = await self.until(self.administrator.pings)
        length = self.length(calm, 1)
        while (now := time.monotonic()) < window.restored_at + LONGEST_RECOVERY:
            calm_since = max(window.restored_at, self.journal.last_error)
            if now - calm_since >= length:
                window.recovery = calm_since - window.restored_at
                break
            await asyncio.sleep(0.02)

    async def until(self, condition: Callable[[], object], seconds: float = 60) -> float:
        """The moment at which a condition holds that takes a while to ask. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.01)
        return time.monotonic()

    def _journal_of(self, part: str) -> Path:
        return self.folder / f"{self.name}-{part}.jsonl"

    async def _usage_at_rest(self, port: int) -> Usage:
        """Once it does not change any more: the clients' connections take a moment to be closed."""
        last, found = None, await asyncio.to_thread(self._usage, port)
        while last is None or (last.files, last.connections, last.served) != (
            found.files,
            found.connections,
            found.served,
        ):
            await asyncio.sleep(0.2)
            last, found = found, await asyncio.to_thread(self._usage, port)
        return found

    async def _leaks(self, before: Usage, port: int, most_connections: int) -> list[str]:
        """What does not come back within ten seconds."""
        deadline = time.monotonic() + 10
        while found := leaks(before, await asyncio.to_thread(self._usage, port), most_connections):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
        return found

    def _usage(self, port: int) -> Usage:
        alive = [server.process.pid for server in self.servers if server.process.poll() is None]
        return usage(alive, port, len(self.administrator.connections()))


@contextmanager
def own_database(
    experiment: Experiment[LocalDatabase], *options: str, migrated: bool = True
) -> Iterator[LocalDatabase]:
    """A database for this experiment alone, in place of the one that all share."""
    shared = experiment.database
    with TemporaryDirectory() as folder, local_database(Path(folder) / "mariadb", *options) as experiment.database:
        if migrated:
            migrate(experiment.database.url)
        yield experiment.database
    experiment.database = shared
