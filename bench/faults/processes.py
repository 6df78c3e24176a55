"""Clients that leave, processes of the service that end, and clocks that are wrong."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from bench.faults.clients import Load
from bench.faults.experiment import Experiment
from bench.faults.requests import PATHS
from bench.faults.usage import command_of, tree
from bench.seed import PASSWORD
from service.localdb import LocalDatabase

PATIENCE = 0.005  # seconds


async def impatient_clients(experiment: Experiment[LocalDatabase]) -> None:
    """500 clients that close 5 ms after they asked, each endpoint in turn."""
    count = int(experiment.length(500, 100))
    async with experiment.under_load() as load, experiment.fault():
        url = urlsplit(experiment.servers[0].url)
        for _, request in zip(range(count), _requests(load), strict=False):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
            writer.write(request)
            await asyncio.sleep(PATIENCE)
            writer.close()
    experiment.evidence["clients that left"] = count


async def restart(experiment: Experiment[LocalDatabase]) -> None:
    """SIGTERM while somebody logs in, and a new process on the port; five times."""
    times = int(experiment.length(5, 1))
    codes = []
    async with experiment.under_load():
        for number in range(times):
            old = experiment.servers[-1]
            port = int(urlsplit(old.url).port or 0)
            async with experiment.fault(calm=10 if number == times - 1 else 2) as window:
                await experiment.until(partial(experiment.journal.under_way, "login"))
                old.process.send_signal(signal.SIGTERM)
                await experiment.until(partial(_is_closed, port))
                await asyncio.to_thread(experiment.start_another, port=port)
                window.restored_at = time.monotonic()
            codes.append(await asyncio.to_thread(old.process.wait, 20))
    experiment.evidence["exit codes"] = codes


async def killed_worker(experiment: Experiment[LocalDatabase]) -> None:
    """SIGKILL of one of two workers; three times."""
    times = int(experiment.length(3, 1))
    async with experiment.under_load("--workers", "2"):
        supervisor = experiment.servers[0].process.pid
        for number in range(times):
            worker = _workers(supervisor)[0]
            async with experiment.fault(calm=10 if number == times - 1 else 2) as window:
                os.kill(worker, signal.SIGKILL)
                window.restored_at = time.monotonic()  # the other one is there
                await experiment.until(partial(_is_replaced, supervisor, worker))
    experiment.evidence["killed"] = times


async def fast_clock(experiment: Experiment[LocalDatabase]) -> None:
    """Two processes, of which one is ten minutes ahead; clients ask both in turn, for 10 seconds."""
    await _with_clock(experiment, "+600s")


async def slow_clock(experiment: Experiment[LocalDatabase]) -> None:
    """The same, ten minutes behind."""
    await _with_clock(experiment, "-600s")


async def _with_clock(experiment: Experiment[LocalDatabase], offset: str) -> None:
    false = {"LD_PRELOAD": str(faketime()), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    async with experiment.under_load(each=[{}, false], skewed=True, JWT_EXPIRY="5m"), experiment.fault():
        right, wrong = [await asyncio.to_thread(_clock_of, server.url) for server in experiment.servers]
        experiment.evidence["seconds ahead"] = round(wrong - right)
        await asyncio.sleep(experiment.length(10, 2))


def faketime() -> Path:
    """The library that gives a process another time. Raises FileNotFoundError."""
    for path in Path("/usr/lib").glob("*/faketime/libfaketime.so.1"):
        return path
    raise FileNotFoundError("libfaketime is not installed: apt install faketime (Debian, Ubuntu)")


def _requests(load: Load) -> Iterator[bytes]:
    """Whole requests on sessions that the clients have at the moment, or had."""
    number = 0
    while True:
        session = next(session for user in reversed(load.users) for session in user.sessions)
        name = next(user.name for user in reversed(load.users) if user.acknowledged)
        credentials = {"username": name, "password": PASSWORD}
        yield _request("login", **credentials)
        yield _request("refresh", refreshToken=session.refresh)
        yield _request("signup", **{**credentials, "username": f"gone-{number}"})
        yield _request("verify")
        number += 1


def _request(step: str, **body: str) -> bytes:
    method, path = PATHS[step]
    text = json.dumps(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
    return f"{head}\r\n\r\n{text}".encode()


def _is_closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _workers(supervisor: int) -> list[int]:
    """The processes that serve; beside them there is Python's own that keeps track of what they share."""
    return [pid for pid in tree(supervisor)[1:] if b"spawn_main" in command_of(pid)]


def _is_replaced(supervisor: int, worker: int) -> bool:
    workers = _workers(supervisor)
    return len(workers) == 2 and worker not in workers


def _clock_of(url: str) -> float:
    try:
        headers = urlopen(f"{url}/auth/verify").headers  # noqa: S310  # our own address
    except HTTPError as refusal:
        headers = refusal.headers
    return parsedate_to_datetime(headers["Date"]).timestamp()
