"""A crowd that wants to log in at once: python -m bench.crowd URL FILE SECONDS.

Each of its clients has a line of FILE and a connection, posts the login, and at a 503 waits for as long as Retry-After
says, and up to a second more. One that got in is followed by another at once, so that the crowd stays as large as it
was. Prints one line of JSON: `moments` of the logins in seconds, what `logins` and `refusals` (503) took in
milliseconds and how many they were, and how many answers were `wrong` and clients `broken`.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

CLIENTS = 1000
JITTER = 1.0  # seconds


@dataclass
class Seen:
    """What all clients were answered so far."""

    moments: list[float] = field(default_factory=list)
    logins: list[float] = field(default_factory=list)
    refusals: list[float] = field(default_factory=list)
    wrong: int = 0
    broken: int = 0


async def run(url: str, bodies: Sequence[str], seconds: float) -> Seen:
    """Connects everybody, then lets them begin within a second; those not answered when time is up do not count."""
    address, seen = urlsplit(url), Seen()
    streams = [await asyncio.open_connection(address.hostname, address.port) for _ in bodies]
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as clients:
            for (reader, writer), body in zip(streams, bodies, strict=True):
                clients.create_task(_client(reader, writer, body, seen))
    return seen


async def _client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: str, seen: Seen) -> None:
    head = f"POST /auth/login HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    request = f"{head}\r\n\r\n{body}".encode()
    pause: float | None = random.uniform(0, 1)  # noqa: S311  # jitter
    try:
        while pause is not None:
            await asyncio.sleep(pause)
            sent = time.perf_counter()
            writer.write(request)
            status, retry_after = await read_answer(reader)
            pause = _note(seen, status, retry_after, sent)
    # The connection is lost, for which uvloop has a RuntimeError too, or what came is not HTTP.
    except (OSError, EOFError, RuntimeError, ValueError, KeyError):
        seen.broken += 1


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes | None]:
    """The status and the Retry-After of the next answer. Raises EOFError, ValueError, KeyError."""
    status, *lines = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines)}
    await reader.readexactly(int(headers[b"content-length"]))
    return int(status.split()[1]), headers.get(b"retry-after")


def _note(seen: Seen, status: int, retry_after: bytes | None, sent: float) -> float | None:
    """Counts an answer; returns the seconds to wait before the next request, None if there is to be none."""
    now = time.perf_counter()
    if status == 200:
        seen.moments.append(now)
        seen.logins.append((now - sent) * 1000)
        return 0
    if status == 503 and retry_after is not None:
        seen.refusals.append((now - sent) * 1000)
        return int(retry_after) + random.uniform(0, JITTER)  # noqa: S311
    seen.wrong += 1
    return None


def _spread(milliseconds: list[float]) -> dict[str, float]:
    ordered = sorted(milliseconds) or [0.0]
    p50, p90, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.9, 0.99))
    return {"p50": p50, "p90": p90, "p99": p99, "worst": ordered[-1], "requests": len(milliseconds)}


if __name__ == "__main__":
    lines = Path(sys.argv[2]).read_text().splitlines()[:CLIENTS]
    seen = uvloop.run(run(sys.argv[1], lines, float(sys.argv[3])))  # what this takes of the cores, the hashes lack
    spreads = {"logins": _spread(seen.logins), "refusals": _spread(seen.refusals)}
    report = {"moments": seen.moments, **spreads, "wrong": seen.wrong, "broken": seen.broken}
    sys.stdout.write(json.dumps(report) + "\n")
