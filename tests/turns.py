"""Turns of the event loop a second while hashes are compared in Python, as the service does it and as Python would."""

import asyncio
import sys
import time

from service.app import create_app
from service.passwords import Passwords
from tests.newcomers import schemes


async def turns_a_second(stored: str) -> float:
    passwords = Passwords(rounds=4, threads=2, queue=0)
    comparing = asyncio.gather(*(passwords.verify("a wrong guess", stored) for _ in range(2)))
    began, turns = time.monotonic(), 0
    while not comparing.done():
        await asyncio.sleep(0.0005)
        turns += 1
    passwords.close()
    return turns / (time.monotonic() - began)


if __name__ == "__main__":
    default = sys.getswitchinterval()
    slow = schemes.sha512_crypt.using(rounds=300_000).hash("")
    create_app()
    ours = asyncio.run(turns_a_second(slow))
    sys.setswitchinterval(default)
    sys.stdout.write(f"{ours} {asyncio.run(turns_a_second(slow))}\n")
