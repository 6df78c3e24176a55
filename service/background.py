"""What a process does beside answering: it asks for its schema once, and deletes and measures for ever."""

import asyncio
import logging
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable

from service.database import Database
from service.errors import Unavailable
from service.health import Health
from service.keywatch import KeyWatch
from service.metrics import Metrics
from service.passwords import Passwords
from service.queries import migrations
from service.revocations import Revocations
from service.sessions import Sessions
from service.throttle import Throttle

STARTUP_FAILURE = 3  # uvicorn's own code: a supervisor of workers stops instead of trying again
PURGE_INTERVAL = 300  # seconds
RETRY_INTERVAL = 1  # seconds

log = logging.getLogger(__name__)


async def persist(work: Callable[[], Awaitable[None]]) -> None:
    """Does the work, and begins again a second after whatever made it fail: nobody would notice that it has ended."""
    while True:
        try:
            await work()
            break
        except Exception as error:
            if not isinstance(error, Unavailable):  # which the database has told of
                log.exception("background_failure")
            await asyncio.sleep(RETRY_INTERVAL)


async def require_schema(database: Database) -> None:
    """Exits when the database, as soon as it can be asked, says that a migration is missing."""
    if missing := await migrations.find_missing(database):
        log.critical("schema_outdated", extra={"missing": missing, "hint": "run: yoyo apply --batch"})
        # An exception would pass through lifespan and event loop, and each would print a traceback of its own.
        os._exit(STARTUP_FAILURE)


async def keep_up(database: Database, revocations: Revocations, is_reached: "asyncio.Future[bool]") -> None:
    """Requires the schema, and then reads for ever which sessions have ended; notes how the first question ended."""
    try:
        await require_schema(database)
    finally:
        if not is_reached.done():
            is_reached.set_result(sys.exception() is None)
    await revocations.follow()


async def sample(
    metrics: Metrics,
    health: Health,
    passwords: Passwords,
    database: Database,
    revocations: Revocations,
    throttle: Throttle,
    keys: KeyWatch,
) -> None:
    """Sets for ever, each second, the metrics that no event changes."""
    while True:
        waiting, running = passwords.load
        values = {
            "ready": float((await health.check()).is_ready),
            "hash_queue_length": waiting,
            "hashes_running": running,
            "pool_connections_in_use": database.in_use,
            "revocation_age_seconds": revocations.silence,
            "revoked_sessions": revocations.remembered,
            "rate_limit_storage_down": float(throttle.storage_is_down),
            "keys_unusable": float(keys.is_unusable),
            "sampled_timestamp_seconds": time.time(),
        }
        metrics.set(values)
        await asyncio.sleep(1)


async def purge(sessions: Sessions) -> None:
    """Deletes what has expired for ever, a batch at a time; harmless when several processes do."""
    pause = PURGE_INTERVAL / 10  # before the first: there may be workers who do not live for long
    while True:
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        async for _ in sessions.purge():
            pass
        pause = PURGE_INTERVAL
