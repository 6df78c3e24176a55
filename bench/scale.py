"""What becomes of the service where there is more of something: clients, workers, connections, sessions, time."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from bench.crowd import CLIENTS
from bench.held import answered, held
from bench.plan import BOTH, CORES, OURS, THEIRS, Figure, Plan
from bench.processes import allow_open_files, await_rest, resident_bytes
from bench.rows import databases, sizes
from bench.sample import bytes_a_session, write_tokens
from bench.servers import BARE, ROOT, SERVICE, Server
from bench.turns import Side, take_turns
from bench.wrk import Load, pin, wrk

SPARE_FILES = 100  # for what else a process has open


def crowd(plan: Plan) -> Iterator[Figure]:
    """Logins a second of what bcrypt does, while 1,000 clients want in at once; and how soon the others hear a 503."""
    allow_open_files(CLIENTS + SPARE_FILES)
    seconds = max(2 if plan.quick else 6, plan.hashing)  # some logins, on a busy machine too
    # uvicorn would close the connections of those that wait for more than five seconds.
    with plan.bcrypt() as limit, Server(SERVICE, BOTH, plan.settings, "--timeout-keep-alive", "60") as service:
        command = [sys.executable, "-m", "bench.crowd", service.url, str(plan.folder / "logins"), str(seconds)]
        done = subprocess.run([*pin(THEIRS), *command], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    seen = json.loads(done.stdout)
    failed = {"refused": seen["wrong"], "broken": seen["broken"]}
    logins = Load(_hash_rate(seen["moments"], len(CORES)), **seen["logins"], **failed)
    refusals = Load(seen["refusals"]["requests"] / seconds, **seen["refusals"], **failed)
    yield Figure("login, a crowd of 1,000", logins.per_second, "/s", limit.per_second, logins, at_least=0.95)
    yield Figure("p99 of 503 in the crowd", refusals.p99, "ms", None, refusals, at_most=100)


def _hash_rate(moments: Sequence[float], threads: int) -> float:
    """A second, from each thread's first answer to its last: hashes cut by either end are neither time nor count."""
    return (len(moments) - threads) / (fmean(moments[-threads:]) - fmean(moments[:threads]))


def workers(plan: Plan) -> Iterator[Figure]:
    """Processor time of a verify with two workers, of that with one; and the same of uvicorn with a fixed answer.

    All workers have the one core that is not wrk's, in both cases: wrk is never in their way, both cores are busy
    alike, and 64 clients wait for answers. Workers with a core each would not pay for switching between them, which
    uvicorn shows alone.
    """
    access = plan.folder / "access"
    with ExitStack() as stack:

        def side(count: str, factory: str, settings: dict[str, str], mode: str, file: Path | None = None) -> Side:
            server = stack.enter_context(Server(factory, OURS, settings, "--workers", count))
            await_rest(server.process.pid)  # the first answer says nothing of the second worker
            return Side(server.url, mode, file, cores=THEIRS, connections=64, process=server.process.pid)

        one, two = (side(count, SERVICE, plan.settings, "verify", access) for count in ("1", "2"))
        bare = [] if plan.quick else [side(count, BARE, {}, "fixed") for count in ("1", "2")]
        plan.compare(one, two, *bare)
    load = two.load.with_failures_of(one.load)
    yield Figure("CPU a verify, two workers", two.cpu, "us", one.cpu, load, at_most=1.1)
    if bare:
        bare_one, bare_two = bare
        load = bare_two.load.with_failures_of(bare_one.load)
        yield Figure("CPU a fixed answer, two workers", bare_two.cpu, "us", bare_one.cpu, load)


def connections(plan: Plan) -> Iterator[Figure]:
    """Verifications a second beside 10,000 connections that stay open, of those beside none; and each one's memory."""
    count = 1_000 if plan.quick else 10_000
    allow_open_files(count + SPARE_FILES)
    token = (plan.folder / "one").read_text().strip()

    # uvicorn would close them after five idle seconds.
    options = "--timeout-keep-alive", "600"
    with (
        Server(SERVICE, OURS, plan.settings, *options) as empty,
        Server(SERVICE, OURS, plan.settings, *options) as service,
        held(service.url, count) as opened,
    ):
        alone, beside = (Side(each.url, "verify", plan.folder / "access", cores=THEIRS) for each in (empty, service))
        plan.warm_up(alone, beside)
        before = resident_bytes(service.process.pid)
        lost = count - answered(opened, token)
        after = resident_bytes(service.process.pid)
        take_turns((alone, beside), plan.seconds)
        lost += count - answered(opened, token)
    load = beside.load.with_failures_of(alone.load)
    load = replace(load, broken=load.broken + lost)
    yield Figure(f"verify beside {count:,} connections", load.per_second, "/s", alone.load.per_second, load)
    yield Figure("memory an open connection", (after - before) / 1024 / count, "KiB", None, load)


def rows(plan: Plan) -> Iterator[Figure]:
    """Refreshes a second among many sessions, of those among 1,000; and what a session takes in the database."""
    few, *many = sizes(quick=plan.quick)
    with databases(plan.folder / "rows", quick=plan.quick) as urls, ExitStack() as stack:
        services = {
            size: stack.enter_context(Server(SERVICE, OURS, {**plan.settings, "DATABASE_URL": url}))
            for size, url in urls.items()
        }
        for mode, doing, behind in (("rotate", "rotating", 0), ("stay", "staying", 1))[: 1 if plan.quick else None]:
            sides = {}
            for size, service in services.items():
                file = plan.folder / f"{mode}-{size}"
                write_tokens(file, urls[size], size, behind=behind)
                sides[size] = Side(service.url, mode, file, cores=THEIRS, connections=64)
            plan.compare(*sides.values())
            limit = sides[few].load
            for size in many:
                load = sides[size].load.with_failures_of(limit)
                name = f"{doing} among {size:,} sessions"
                yield Figure(name, load.per_second, "/s", limit.per_second, load, at_least=0.85)
        yield Figure("a session in the database", bytes_a_session(urls[many[-1]], many[-1]), "B")


def process(plan: Plan) -> Iterator[Figure]:
    """Seconds from the start of a process to its first answer, up to 20 ms too many; and its memory after a load."""
    started = time.monotonic()
    with Server(SERVICE, OURS, plan.settings) as service:
        yield Figure("start to first answer", time.monotonic() - started, "s", at_most=1)
        verified = wrk(service.url, "verify", plan.folder / "access", seconds=plan.seconds, cores=THEIRS)
        load = wrk(service.url, "stay", plan.folder / "stay", seconds=plan.seconds, cores=THEIRS)
        memory = resident_bytes(service.process.pid) / 1e6
    yield Figure("memory of a worker", memory, "MB", None, load.with_failures_of(verified), at_most=80)
