"""What it costs to run the service as it should be: with metrics, a log and limits, and a purge now and then."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measure import BOTH, OURS, THEIRS, Figure, Plan
from bench.rows import add_expired, count_expired, databases, delete_expired, sizes
from bench.sample import write_tokens
from bench.servers import ROOT, SERVICE, Server
from bench.turns import Side
from bench.wrk import pin, wrk

FASTEST, SLOWEST = 5_000, 1_000  # sessions a second that a purge deletes, and should
SPARE = 4  # seconds that it could go on, of which the load takes one
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
    for name, mode, file, setting in COMPARED[: 2 if plan.quick else None]:
        with (
            Server(SERVICE, OURS, without) as bare,
            Server(SERVICE, OURS, {**without, setting: plan.settings[setting]}) as complete,
        ):
            limit, side = (Side(each.url, mode, plan.folder / file, cores=THEIRS) for each in (bare, complete))
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
    with databases(plan.folder / "rows", sizes(quick=plan.quick)) as urls:
        settings = {**plan.settings, "DATABASE_URL": urls[size]}
        file = plan.folder / f"rotate-{size}"
        write_tokens(file, urls[size], size, behind=0)
        purged, lasted = 0, 0.0
        try:
            with Server(SERVICE, OURS, settings) as service:
                # One file, of which each goes on with what the other left.
                calm, busy = (Side(service.url, "rotate", file, cores=THEIRS, connections=64) for _ in range(2))
                plan.warm_up(calm)
                for _ in range(1 + plan.seconds // 2):
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
    expired = FASTEST * SPARE
    add_expired(url, expired, users=USERS)
    command = [*pin(OURS), str(Path(sys.executable).with_name("mstack-auth")), "purge", "--json"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as running:
        before = count_expired(url)
        while count_expired(url) == before and running.poll() is None:
            time.sleep(0.05)
        began = time.monotonic()
        side.turn(1)
        is_over = running.poll() is not None
        running.send_signal(signal.SIGINT)
        output, _ = running.communicate(timeout=30)
    if is_over:
        raise RuntimeError(f"the purge ended before the load: {output!r}")
    return json.loads(output)["sessions"], time.monotonic() - began
