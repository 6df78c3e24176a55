"""Ten thousand guesses at one user's password from two hundred addresses: python -m bench.guessing URL NAME COUNT.

Each of its clients has an address and a connection, and sends COUNT guesses one after the other. Prints one line of
JSON: how many answers had which status.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import quantiles
from urllib.parse import urlsplit

import httpx

from bench.crowd import read_answer
from bench.plan import BOTH, THEIRS, Figure, Plan
from bench.servers import ROOT, SERVICE, Server
from bench.wrk import Load, pin

LIMIT = 20  # failed logins of a name, as is the default
ADDRESSES = 200
PATIENCE = 300  # seconds for all guesses
# The defaults; and we are the proxy that says who the clients are.
LIMITED = {
    "RATE_LIMIT_LOGIN_NAME": f"{LIMIT}/15m",
    "RATE_LIMIT_LOGIN_ADDRESS": "100/15m",
    "TRUSTED_PROXIES": "127.0.0.1",
}


@dataclass
class Seen:
    """What a user was answered: how many milliseconds each answer took, and how many were no success."""

    took: list[float] = field(default_factory=list)
    refused: int = 0

    def load(self, seconds: float) -> Load:
        """As wrk would tell it."""
        cuts, count = quantiles(self.took, n=100, method="inclusive"), len(self.took)
        return Load(count / seconds, cuts[49], cuts[89], cuts[98], max(self.took), count, self.refused, 0)


def guessing(plan: Plan) -> Iterator[Figure]:
    """How many of the guesses are compared; whether their victim's refreshes and another user's logins succeed."""
    each = 5 if plan.quick else 50
    victim, other = (json.loads(line) for line in (plan.folder / "logins").read_text().splitlines()[:2])
    with (
        Server(SERVICE, BOTH, {**plan.settings, **LIMITED}) as service,
        httpx.Client(base_url=service.url, timeout=60, headers={"X-Forwarded-For": "203.0.113.1"}) as owner,
        httpx.Client(base_url=service.url, timeout=60, headers={"X-Forwarded-For": "203.0.113.2"}) as bystander,
        ThreadPoolExecutor(2) as threads,
    ):
        refresh_token = owner.post("/auth/login", json=victim).json()["refreshToken"]

        def refresh() -> httpx.Response:
            nonlocal refresh_token
            answer = owner.post("/auth/refresh", json={"refreshToken": refresh_token})
            refresh_token = answer.json().get("refreshToken")
            return answer

        command = [sys.executable, "-m", "bench.guessing", service.url, victim["username"], str(each)]
        began = time.perf_counter()
        with subprocess.Popen([*pin(THEIRS), *command], cwd=ROOT, stdout=subprocess.PIPE) as attack:
            works = refresh, lambda: bystander.post("/auth/login", json=other)
            tasks = [threads.submit(_meanwhile, attack, work) for work in works]
            try:
                output, _ = attack.communicate(timeout=PATIENCE)
            finally:
                attack.kill()
            seconds = time.perf_counter() - began
            refreshes, logins = (task.result().load(seconds) for task in tasks)
    statuses, count = Counter(json.loads(output)), ADDRESSES * each
    compared, refused, told_busy = (statuses.pop(status, 0) for status in ("401", "429", "503"))
    if statuses or compared + refused + told_busy != count:
        raise RuntimeError(f"of {count} guesses some were answered otherwise than 401, 429 and 503: {statuses}")
    yield Figure(f"{count:,} guesses: compared", compared, "guesses", at_most=LIMIT)
    yield Figure(f"{count:,} guesses: answered 429", refused, "guesses")
    yield Figure(f"{count:,} guesses: answered 503", told_busy, "guesses")
    yield Figure(f"{count:,} guesses: the last answer", seconds, "s")
    yield Figure("the victim's refreshes meanwhile", refreshes.per_second, "/s", None, refreshes)
    yield Figure("another user's logins meanwhile", logins.per_second, "/s", None, logins)


def _meanwhile(attack: subprocess.Popen[bytes], work: Callable[[], httpx.Response]) -> Seen:
    """Does it again and again until the attack is over."""
    seen = Seen()
    while attack.returncode is None:
        sent = time.perf_counter()
        answer = work()
        seen.took.append((time.perf_counter() - sent) * 1000)
        seen.refused += not answer.is_success
    return seen


async def attack(url: str, name: str, each: int) -> Counter[int]:
    """All guesses; returns how many answers had which status."""
    statuses: Counter[int] = Counter()
    async with asyncio.TaskGroup() as clients:
        for number in range(ADDRESSES):
            clients.create_task(_guess(url, name, f"198.51.100.{number + 1}", each, statuses))
    return statuses


async def _guess(url: str, name: str, address: str, each: int, statuses: Counter[int]) -> None:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    for number in range(each):
        body = json.dumps({"username": name, "password": f"guess {number} from {address}"})
        head = f"POST /auth/login HTTP/1.1\r\nHost: bench\r\nX-Forwarded-For: {address}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n{body}".encode())
        status, _ = await read_answer(reader)
        statuses[status] += 1
    writer.close()


if __name__ == "__main__":
    found = asyncio.run(attack(sys.argv[1], sys.argv[2], int(sys.argv[3])))
    sys.stdout.write(json.dumps(found) + "\n")
