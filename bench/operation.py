"""What it costs to run the service as it should be: with metrics, a log and limits, and a purge now and then."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.plan import BOTH, OURS, THEIRS, Figure, Plan
from bench.rows import add_expired, count_expired, databases, delete_expired, sizes
from bench.sample import write_tokens
from bench.servers import ROOT, SERVICE, Server, environment
from bench.turns import Side
from bench.wrk import pin, wrk

FASTEST, SLOWEST = 5_000, 1_000  # sessions a second that a purge deletes, and should
LASTS = 3  # seconds that each of them could go on, of which the load takes one
REST = 1  # seconds in which the database forgets one
USERS = 10_000  # whose sessions these are
COMPARED = (
    ("verify with metrics", "verify", "access", "METRICS_PORT"),
    ("refresh with a log", "stay", "stay", "LOG_LEVEL"),
    ("refresh with metrics", "stay", "stay", "METRICS_PORT"),
)
WITHOUT = {"METRICS_PORT": "0", "LOG_LEVEL": "CRITICAL", "RATE_LIMITS": "off"}


def operated() -> dict[str, str]:
    """The settings of each service of a run: everything counts and is logged, and no limit is met."""
    unmet = dict.fromkeys(("RATE_LIMIT_LOGIN_NAME", "RATE_LIMIT_LOGIN_ADDRESS", "RATE_LIMIT_SIGNUP"), "999999/1s")
    return {"METRICS_PORT": "9464", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "RATE_LIMITS": "on", **unmet}


def operation(plan: Plan) -> Iterator[Figure]:
    """Verify, refresh and login with metrics, log or limits, of the same without any of them."""
    without = {**plan.settings, **WITHOUT}
    for name, mode, file, setting in COMPARED[: 1 if plan.quick else None]:
        with (
            Server(SERVICE, OURS, without) as without_it,
            Server(SERVICE, OURS, {**without, setting: plan.settings[setting]}) as with_it,
        ):
            limit, side = (Side(each.url, mode, plan.folder / file, cores=THEIRS) for each in (without_it, with_it))
            plan.compare(limit, side)
        load = side.load.with_failures_of(limit.load)
        yield Figure(name, load.per_second, "/s", limit.load.per_second, load)
    if not plan.quick:
        yield _limits(plan, without)


def _limits(plan: Plan, without: dict[str, str]) -> Figure:
    """One after the other: the hashes that a short turn leaves behind would be the other's burden."""
    loads = []
    for settings in (without, {**without, "RATE_LIMITS": plan.settings["RATE_LIMITS"]}):
        with Server(SERVICE, BOTH, settings) as service:
            loads.append(wrk(service.url, "login", plan.folder / "logins", seconds=plan.hashing, cores=THEIRS))
    limit, load = loads
    return Figure("login with limits", load.per_second, "/s", limit.per_second, load.with_failures_of(limit))


def purge(plan: Plan) -> Iterator[Figure]:
    """The p99 of refreshes that rotate among 2,000,000 sessions, while expired ones are deleted, of the same at rest.

    The purge has the core of the service, which would do it itself, and has begun to delete before the load begins.
    """
    size = sizes(quick=plan.quick)[-1]
    with databases(plan.folder / "rows", quick=plan.quick) as urls:
        settings = {**plan.settings, "DATABASE_URL": urls[size]}
        file = plan.folder / f"rotate-{size}"
        write_tokens(file, urls[size], size, behind=0)
        add_expired(urls[size], FASTEST * LASTS * plan.alternations, users=USERS)
        purged, lasted = 0, 0.0
        try:
            with Server(SERVICE, OURS, settings) as service:
                # One file, of which each goes on with what the other left.
                calm, busy = (Side(service.url, "rotate", file, cores=THEIRS, connections=64) for _ in range(2))
                plan.warm_up(calm)
                for _ in range(plan.alternations):
                    if not plan.quick:
                        time.sleep(REST)
                    calm.turn(1)
                    sessions, seconds = _beside_a_purge(busy, settings, urls[size])
                    purged += sessions
                    lasted += seconds
        finally:
            delete_expired(urls[size])
    load, limit = busy.load.with_failures_of(calm.load), calm.load
    yield Figure("rotating's p99 during a purge", load.p99, "ms", limit.p99, load, at_most=1.5, limit_load=limit)
    yield Figure("sessions purged meanwhile", purged / lasted, "/s", at_least=SLOWEST)


def _beside_a_purge(side: Side, settings: dict[str, str], url: str) -> tuple[int, float]:
    """A turn while sessions are deleted: how many, and in how many seconds. Raises RuntimeError where it ends first."""
    command = [*pin(OURS), str(Path(sys.executable).with_name("mstack-auth")), "purge"]
    before = count_expired(url)
    with subprocess.Popen(
        command, cwd=ROOT, env=environment(**settings), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as running:
        try:
            while count_expired(url) == before and running.poll() is None:
                time.sleep(0.05)
            began, remaining = time.monotonic(), count_expired(url)
            side.turn(1)
            deleted, lasted = remaining - count_expired(url), time.monotonic() - began
            if running.poll() is not None:
                raise RuntimeError("the purge ended before the load")
            running.send_signal(signal.SIGINT)
            running.wait(30)
        finally:
            running.kill()
    return deleted, lasted
