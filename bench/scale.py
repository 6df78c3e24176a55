"""What becomes of the service where there is more of something: clients, workers, connections, sessions, time."""

import time
from collections.abc import Iterator

from bench.measure import OURS, THEIRS, Figure, Plan
from bench.processes import await_rest, cpu_seconds, resident_bytes
from bench.servers import SERVICE, Server
from bench.wrk import Load, wrk


def workers(plan: Plan) -> Iterator[Figure]:
    """Processor time of a verify with two workers, of that with one.

    All workers have the one core that is not wrk's, in both cases: wrk is never in their way, both cores are busy
    alike, and 64 clients wait for answers. Workers with a core each would not even pay for switching between them.
    """
    cost: dict[int, float] = {}
    loads: dict[int, Load] = {}
    for count in (1, 2):
        with Server(SERVICE, OURS, plan.settings, "--workers", str(count)) as service:
            file, pid = plan.folder / "access", service.process.pid
            await_rest(pid)  # the first answer says nothing of the second worker
            wrk(service.url, "verify", file, seconds=1, connections=64, cores=THEIRS)
            before = cpu_seconds(pid)
            loads[count] = wrk(service.url, "verify", file, seconds=plan.seconds, connections=64, cores=THEIRS)
            cost[count] = (cpu_seconds(pid) - before) / loads[count].requests * 1e6
    load = loads[2].with_failures_of(loads[1])
    yield Figure("CPU a verify, two workers", cost[2], "us", cost[1], load, at_most=1.1)


def process(plan: Plan) -> Iterator[Figure]:
    """Seconds from the start of a process to its first answer, up to 20 ms too many; and its memory after a load."""
    started = time.monotonic()
    with Server(SERVICE, OURS, plan.settings) as service:
        yield Figure("start to first answer", time.monotonic() - started, "s", at_most=1)
        verified = wrk(service.url, "verify", plan.folder / "access", seconds=plan.seconds, cores=THEIRS)
        load = wrk(service.url, "stay", plan.folder / "refresh-stay", seconds=plan.seconds, cores=THEIRS)
        memory = resident_bytes(service.process.pid) / 1e6
    yield Figure("memory of a worker", memory, "MB", None, load.with_failures_of(verified), at_most=80)
