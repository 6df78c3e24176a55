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
from bench.scale import warm_up
from bench.servers import ROOT, SERVICE, Server
from bench.wrk import Load, pin, wrk

FASTEST, SLOWEST = 5_000, 1_000  # sessions a second that a purge deletes, and should
SPARE = 3  # seconds that it may go on beside the load
USERS = 10_000  # whose sessions these are
COMPARED = (
    ("verify with metrics", "verify", "access", "METRICS_PORT"),
    ("refresh with a log", "stay", "refresh-stay", "LOG_LEVEL"),
    ("refresh with metrics", "stay", "refresh-stay", "METRICS_PORT"),
    ("login with limits", "login", "logins", "RATE_LIMITS"),
)
WITHOUT = {"METRICS_PORT": "0", "LOG_LEVEL": "CRITICAL", "RATE_LIMITS": "off"}


def operated() -> dict[str, str]:
    """The settings of each service of a run: everything counts and is logged, and no limit is met."""
    unmet = dict.fromkeys(("RATE_LIMIT_LOGIN_NAME", "RATE_LIMIT_LOGIN_ADDRESS", "RATE_LIMIT_SIGNUP"), "999999/1s")
    return {"METRICS_PORT": "9464", "LOG_LEVEL": "INFO", "LOG_FORMAT": "json", "RATE_LIMITS": "on", **unmet}


def operation(plan: Plan) -> Iterator[Figure]:
    """Verify, refresh and login with metrics, log or limits, of the same without any of them."""
    for name, mode, file, setting in COMPARED[: 2 if plan.quick else None]:
        cores, longer = (BOTH, 3) if mode == "login" else (OURS, 1)
        without = {**plan.settings, **WITHOUT}
        loads = []
        for settings in (without, {**without, setting: plan.settings[setting]}):
            with Server(SERVICE, cores, settings) as service:
                for seconds in warm_up(plan):
                    load = wrk(service.url, mode, plan.folder / file, seconds=longer * seconds, cores=THEIRS)
            loads.append(load)
        shown = loads[1].with_failures_of(loads[0])
        yield Figure(name, loads[1].per_second, "/s", loads[0].per_second, shown)


def purge(plan: Plan) -> Iterator[Figure]:
    """The p99 of refreshes that rotate among 2,000,000 sessions, while expired ones are deleted, of the same at rest.

    The purge has the core of the service, which would do it itself, and has begun to delete before the load begins.
    """
    size = sizes(quick=plan.quick)[-1]
    with databases(plan.folder / "rows", sizes(quick=plan.quick)) as urls:
        settings = {**plan.settings, "DATABASE_URL": urls[size]}

        def rotate(seconds: int) -> Load:
            return wrk(service.url, "rotate", file, seconds=seconds, connections=64, cores=THEIRS)

        file = plan.folder / f"rotate-{size}"
        expired = FASTEST * (plan.seconds + SPARE)
        add_expired(urls[size], expired, users=USERS)
        try:
            with Server(SERVICE, OURS, settings) as service:
                for seconds in warm_up(plan):
                    write_tokens(file, urls[size], size, behind=0)
                    calm = rotate(seconds)
                write_tokens(file, urls[size], size, behind=0)
                with _purging(settings) as running:
                    while count_expired(urls[size]) == expired and running.poll() is None:
                        time.sleep(0.05)
                    began = time.monotonic()
                    busy = rotate(plan.seconds)
                    is_over = running.poll() is not None
                    running.send_signal(signal.SIGINT)
                    output, _ = running.communicate(timeout=30)
                lasted = time.monotonic() - began
        finally:
            delete_expired(urls[size])
    if is_over:
        raise RuntimeError(f"the purge ended before the load: {output!r}")
    per_second = json.loads(output)["sessions"] / lasted
    load = busy.with_failures_of(calm)
    yield Figure("rotating's p99 during a purge", busy.p99, "ms", calm.p99, load, at_most=1.5, limit_load=calm)
    yield Figure("sessions purged meanwhile", per_second, "/s", at_least=SLOWEST)


def _purging(settings: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [*pin(OURS), str(Path(sys.executable).with_name("mstack-auth")), "purge", "--json"]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
