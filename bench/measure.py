"""What is measured, each beside its limit in the same round."""

from collections.abc import Iterator

from bench.plan import BOTH, OURS, THEIRS, Figure, Plan
from bench.seed import new_signups
from bench.servers import BARE, REFERENCE, SERVICE, Server
from bench.turns import Side
from bench.wrk import wrk

CLIENTS = (8, 64)


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
