"""The parts that live as long as the process: built, joined, started and stopped in their order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

from starlette.applications import Starlette

from service import background
from service.account import Account
from service.auth import Auth
from service.database import Database
from service.health import Health
from service.keywatch import KeyWatch
from service.metrics import Metrics
from service.passwords import Passwords
from service.revocations import Revocations
from service.rotation import Rotation
from service.sessions import Sessions
from service.settings import Settings
from service.shutdown import Shutdown
from service.throttle import Throttle
from service.tokens import Tokens
from service.web.state import State

LONGEST_START, LONGEST_SILENCE = 30, 3  # seconds for a database that answers, and for one that does not


def lifespan(
    settings: Settings, keys: KeyWatch, clock: Callable[[], float], metrics: Metrics | None
) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    """What runs from before the first request until after the last one, and hands the parts to each request."""

    @asynccontextmanager
    async def running(app: Starlette) -> AsyncIterator[State]:
        passwords = Passwords(
            rounds=settings.bcrypt_rounds,
            threads=settings.hash_threads,
            queue=settings.hash_queue,
            min_length=settings.password_min_length,
            blocklist=settings.password_blocklist,
            waited=metrics.observe_hash_wait if metrics else None,
        )
        tokens = Tokens(
            keys.ring, access_lifetime=settings.jwt_expiry, issuer=settings.jwt_issuer, audience=settings.jwt_audience
        )
        connect = partial(Database, settings.database, timeout=settings.database_timeout)
        database = connect(size=settings.pool_size, waited=metrics.observe_pool_wait if metrics else None)
        reader = connect(size=1)  # its own, so that no storm keeps it from hearing who has logged out
        revocations = Revocations(
            reader,
            interval=settings.revocation_interval,
            lifetime=settings.jwt_expiry,
            max_age=settings.revocation_max_age,
            beside=database,
        )
        sessions = Sessions(
            database=database,
            revocations=revocations,
            lifetime=settings.refresh_expiry,
            max_age=settings.session_max_age,
            limit=settings.max_sessions,
            clock=clock,
        )
        rotation = Rotation(database, lifetime=settings.refresh_expiry, max_age=settings.session_max_age, clock=clock)
        waiting = settings.hash_threads + settings.hash_queue
        throttle = Throttle(settings.limits, exempt=settings.trusted_proxies, waiting=waiting)
        account = Account(database=database, passwords=passwords, sessions=sessions, throttle=throttle)
        auth = Auth(
            database=database,
            passwords=passwords,
            tokens=tokens,
            sessions=sessions,
            rotation=rotation,
            revocations=revocations,
            throttle=throttle,
            clock=clock,
        )

        shutdown = Shutdown(settings.shutdown_delay)
        health = Health(reader, revocations, shutdown)

        is_reached: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        work: list[Callable[[], Awaitable[None]]]
        work = [partial(background.keep_up, database, revocations, is_reached)]
        work += [partial(background.purge, sessions), partial(keys.follow, tokens.use)]
        if metrics and settings.metrics_port:
            metrics.set({"hash_queue_limit": settings.hash_queue, "pool_connections_limit": settings.pool_size})
            work.append(partial(background.sample, metrics, health, passwords, database, revocations, throttle, keys))
            work.append(partial(metrics.serve, settings.metrics_host, settings.metrics_port))
        tasks = [asyncio.create_task(background.persist(each)) for each in work]
        try:
            # Before the first request a wrong schema is found, and it is known which sessions have ended; but a
            # database that is down is not waited for.
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_SILENCE):
                    await is_reached
                async with asyncio.timeout(LONGEST_START):
                    if is_reached.result():
                        await revocations.known.wait()
            shutdown.install()
            yield {"auth": auth, "account": account, "health": health}
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            passwords.close()
            await health.close()
            await database.close()
            await reader.close()
            await throttle.close()
            shutdown.finish()

    return running
