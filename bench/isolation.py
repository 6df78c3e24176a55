"""What the work of logins does to those who verify and refresh meanwhile."""

import signal
import time
from collections.abc import Iterator, Sequence

from bench.plan import BOTH, THEIRS, Figure, Plan
from bench.processes import await_rest
from bench.servers import SERVICE, Server
from bench.turns import Side
from bench.wrk import Answers, finished, started

STORM, RISE = 60, 0.5  # seconds of logins at most, and until they keep all cores busy


def isolation(plan: Plan) -> Iterator[Figure]:
    """The p99 of verify and of refresh while logins keep all cores busy, of the idle ones; and verify's throughput."""
    with Server(SERVICE, BOTH, plan.settings) as service:
        calm, busy = (
            [
                Side(service.url, mode, plan.folder / file, cores=THEIRS, connections=8, skip=skip)
                for mode, file in (("verify", "access"), ("stay", "stay"))
            ]
            for skip in (0, plan.sessions // 2)  # else what one has just verified would be remembered for the other
        )
        plan.warm_up(*calm)
        logins = Answers()
        for _ in range(plan.alternations):
            for side in calm:
                side.turn(1)
            logins += _during_logins(plan, service, busy)
            await_rest(service.process.pid)  # of the hashes that nobody waits for any more
    for what, idle, stormy, most in (("verify", calm[0], busy[0], 3), ("refresh", calm[1], busy[1], 5)):
        load, limit = stormy.load, idle.load
        shown = load.with_failures_of(limit).with_failures_of(logins.load)
        yield Figure(f"{what}'s p99 during logins", load.p99, "ms", limit.p99, shown, at_most=most, limit_load=limit)
        yield Figure(f"{what} during logins", load.per_second, "/s", limit.per_second, load, at_least=0.6)


def _during_logins(plan: Plan, service: Server, sides: Sequence[Side]) -> Answers:
    """A turn of each while eight clients log in again and again; what became of those."""
    file = plan.folder / "logins"
    with started(service.url, "login", file, seconds=STORM, connections=8, cores=THEIRS) as storm:
        time.sleep(RISE)
        for side in sides:
            side.turn(1)
        storm.send_signal(signal.SIGINT)
        return finished(storm, STORM)
