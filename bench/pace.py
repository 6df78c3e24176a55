"""Refreshes that come one at a time: what each takes of the processors where it shares no statement with another."""

import json
import time
from collections.abc import Iterator

import httpx

from bench.guessing import Seen
from bench.plan import OURS, Figure, Plan
from bench.processes import cpu_seconds
from bench.servers import SERVICE, Server

RATE = 100  # a second, of which a process that is kept busy serves thousands
CLIENTS = 8


def pace(plan: Plan) -> Iterator[Figure]:
    """Processor time of a rotating refresh where there are a hundred a second, beyond what both take at rest."""
    logins = [json.loads(line) for line in (plan.folder / "logins").read_text().splitlines()[:CLIENTS]]
    with Server(SERVICE, OURS, plan.settings) as service, httpx.Client(base_url=service.url) as client:
        processes = service.process.pid, plan.database
        tokens = [client.post("/auth/login", json=login).json()["refreshToken"] for login in logins]
        seen, count = Seen(), RATE * plan.seconds
        rested = _used(processes)
        time.sleep(plan.seconds)
        began, before = time.monotonic(), _used(processes)
        for number in range(count):
            turn = number % CLIENTS
            time.sleep(max(0.0, began + number / RATE - time.monotonic()))
            sent = time.perf_counter()
            answer = client.post("/auth/refresh", json={"refreshToken": tokens[turn]})
            seen.took.append((time.perf_counter() - sent) * 1000)
            seen.refused += not answer.is_success
            tokens[turn] = answer.json().get("refreshToken", "")
        lasted, after = time.monotonic() - began, _used(processes)
    load = seen.load(lasted)
    for name, first, second, third in zip(("service", "database"), rested, before, after, strict=True):
        at_rest = (second - first) / plan.seconds * lasted
        yield Figure(
            f"refresh, {RATE} a second: the {name}'s CPU", (third - second - at_rest) / count * 1e6, "us", None, load
        )


def _used(processes: tuple[int, ...]) -> list[float]:
    return [cpu_seconds(process) for process in processes]
