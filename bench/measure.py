"""What is measured, each beside its limit in the same round."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.rawbcrypt import RawBcrypt
from bench.seed import new_signups
from bench.servers import BARE, REFERENCE, SERVICE, Server
from bench.turns import Side, take_turns
from bench.wrk import Load, wrk

CORES = sorted(os.sched_getaffinity(0))
OURS, THEIRS = {CORES[0]}, {CORES[-1]}  # the service's core, and the one of wrk and the database
BOTH = set(CORES)
CLIENTS = (8, 64)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement of one round.

    `limit` is what the ratio is taken of, in the same unit, where there is one; `limit_load` is the load that showed
    it. `at_least` or `at_most` is the target, of the ratio where there is one and of the value otherwise. `theirs` are
    the turns of another service, and `in_turn` ours between them.
    """

    name: str
    value: float
    unit: str
    limit: float | None = None
    load: Load | None = None
    at_least: float | None = None
    at_most: float | None = None
    limit_load: Load | None = None
    in_turn: tuple[Load, ...] = ()
    theirs: tuple[Load, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Where the tokens lie, how the service is set, and how long each load lasts."""

    folder: Path
    settings: dict[str, str]
    seconds: int
    database: int  # its process
    sessions: int
    quick: bool = False  # to see that it works: with less of what takes long to prepare

    @property
    def hashing(self) -> int:
        """Seconds of a load that hashes: of the few hashes a second, wrk doesn't count those that its end cuts off."""
        return (2 if self.quick else 6) * self.seconds

    @property
    def alternations(self) -> int:
        """Turns of a second of what has to be set up anew for each of them, and costs ten."""
        return 1 + self.seconds // 2

    def bcrypt(self) -> RawBcrypt:
        """The limit of a load that hashes on all cores."""
        return RawBcrypt(len(CORES), self.hashing / 4)

    def warm_up(self, *sides: Side) -> None:
        """A second of each that does not count, but where a run is quick."""
        if not self.quick:
            for side in sides:
                side.warm_up()

    def compare(self, *sides: Side) -> None:
        """Lets each have its seconds, in turns, once all are warm."""
        self.warm_up(*sides)
        take_turns(sides, self.seconds)


def verify(plan: Plan) -> Iterator[Figure]:
    """Tokens a second on one core, of what uvicorn gives with a fixed answer."""
    with Server(BARE, OURS, {}) as bare, Server(SERVICE, OURS, plan.settings) as service:
        limit = Side(bare.url, "fixed", cores=THEIRS)
        distinct = Side(service.url, "verify", plan.folder / "access", cores=THEIRS)
        one = Side(service.url, "verify", plan.folder / "one", cores=THEIRS)
        plan.compare(limit, distinct, one)
    for name, side, target in (("verify, distinct tokens", distinct, 0.42), ("verify, one token", one, 0.55)):
        load = side.load.with_failures_of(limit.load)
        yield Figure(name, load.per_second, "/s", limit.load.per_second, load, at_least=target)


def refresh(plan: Plan) -> Iterator[Figure]:
    """Refreshes a second on one core, of those of one look-up a request. Clients that stay, and clients that rotate."""
    with Server(REFERENCE, OURS, plan.settings) as reference, Server(SERVICE, OURS, plan.settings) as service:
        for mode, name, target, files in (
            ("stay", "refresh, staying", 1.8, ("stay", "stay")),
            ("rotate", "refresh, rotating", 1.3, ("rotate-reference", "rotate-service")),
        ):
            limit, ours = (
                Side(server.url, mode, plan.folder / file, cores=THEIRS, connections=64, process=plan.database)
                for server, file in zip((reference, service), files, strict=True)
            )
            plan.compare(limit, ours)
            load = ours.load.with_failures_of(limit.load)
            yield Figure(name, load.per_second, "/s", limit.load.per_second, load, at_least=target)
            yield Figure(f"{name}: p99 of p50", load.p99, "ms", load.p50, load, at_most=5)
            yield Figure(f"{name}: the database's CPU", ours.cpu, "us", None, load)


def login(plan: Plan) -> Iterator[Figure]:
    """Logins a second on all cores, of what bcrypt does on as many threads."""
    for clients in CLIENTS[: 1 if plan.quick else None]:
        # A new service each time, since clients that left leave their hashes.
        with plan.bcrypt() as limit, Server(SERVICE, BOTH, plan.settings) as service:
            file = plan.folder / "logins"
            load = wrk(service.url, "login", file, seconds=plan.hashing, connections=clients, cores=THEIRS)
        yield Figure(f"login, {clients} clients", load.per_second, "/s", limit.per_second, load, at_least=0.95)


def signup(plan: Plan) -> Iterator[Figure]:
    """Signups a second on all cores, of what bcrypt does on as many threads; each with a name that is new."""
    for clients in CLIENTS[: 1 if plan.quick else None]:
        file = plan.folder / f"signups-{clients}"
        with plan.bcrypt() as limit, Server(SERVICE, BOTH, plan.settings) as service:
            new_signups(file, count=int(limit.per_second * plan.hashing * 2) + clients)  # twice what bcrypt could serve
            load = wrk(service.url, "signup", file, seconds=plan.hashing, connections=clients, cores=THEIRS)
        yield Figure(f"signup, {clients} clients", load.per_second, "/s", limit.per_second, load, at_least=0.95)
