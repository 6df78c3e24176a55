"""That a process keeps nothing of a session that is over."""

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from service.ratelimits import RateLimits
from service.settings import Settings
from tests import asgi
from tests.conftest import PASSWORD

SESSIONS = 100


async def live(process: asgi.Process, name: str) -> None:
    """A user's life, from signup to logout."""
    credentials = {"username": name, "password": PASSWORD}
    assert (await process.post("/auth/signup", credentials)).status == 200
    held = (await process.post("/auth/login", credentials)).json()
    assert (await process.call("GET", "/auth/verify", headers=[asgi.bearer(held["token"])])).status == 200
    held = (await process.post("/auth/refresh", {"refreshToken": held["refreshToken"]})).json()
    assert (await process.call("GET", "/auth/verify", headers=[asgi.bearer(held["token"])])).status == 200
    assert (await process.post("/auth/logout", {"refreshToken": held["refreshToken"]})).status == 200
    assert (await process.post("/auth/login", {**credentials, "password": "not the right one"})).status == 401


@pytest.mark.repeated
async def test_a_session_that_is_over_leaves_nothing_in_memory(
    settings: Settings, new_name: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But what is remembered for a while, and bounded: here few tokens, no ended sessions and no failures."""
    monkeypatch.setattr("service.tokens.REMEMBERED", 16)
    without = replace(settings, revocation_interval=0, limits=RateLimits(rate_limits=False))
    async with asgi.process(without, time.time) as process:
        held = []
        for _ in range(3):
            for _ in range(SESSIONS):
                await live(process, new_name())
            gc.collect()
            held.append(sys.getallocatedblocks())
    assert held[2] - held[1] < SESSIONS
