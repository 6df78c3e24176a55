"""The composition root: builds the parts, joins them, decides nothing."""

import asyncio
import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware

from service import background, logs
from service.account import Account
from service.auth import Auth
from service.background import STARTUP_FAILURE
from service.database import Database
from service.environment import InvalidSetting
from service.health import Health
from service.keys import UnusableKey
from service.keywatch import KeyWatch
from service.metrics import Metrics
from service.passwords import Passwords
from service.revocations import Revocations
from service.rotation import Rotation
from service.sessions import Sessions
from service.settings import Settings
from service.shutdown import Shutdown
from service.tokens import Tokens
from service.web.errors import HANDLERS, LastResort
from service.web.health import HEALTH_ROUTES
from service.web.jwks import jwks_route
from service.web.measure import measure_requests
from service.web.middleware import CORS, RequestLog
from service.web.routes import ROUTES, State
from service.web.shortcut import VerifyShortcut

LONGEST_START = 30  # seconds

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, clock: Callable[[], float] = time.time) -> Starlette:
    """The ASGI application; for `uvicorn --factory`, which gives no settings, from the environment.

    Exits with one line when the settings, or the keys that they name, are unusable.
    """
    is_own_process = settings is None
    try:
        settings = settings or Settings.from_env()
        keys = KeyWatch(settings.keys.jwt_algorithm, settings.keys.secrets, settings.keys.jwt_keys)
    except (InvalidSetting, UnusableKey) as error:
        subject = "JWT_KEYS: " if isinstance(error, UnusableKey) else ""
        sys.stderr.write(f"mstack-auth: {subject}{error}\n")
        raise SystemExit(STARTUP_FAILURE) from None
    if is_own_process:
        logs.configure(settings.log_level, settings.log_format)
        # A hundred requests in flight are no garbage, though by default their number alone would start a collection.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
    if "*" in settings.cors_origins:
        log.warning("cors_any_origin", extra={"hint": "set CORS_ORIGINS to the origins of your pages"})
    routes = [*ROUTES, *HEALTH_ROUTES, jwks_route(settings.keys.jwks_max_age)]
    metrics = Metrics(settings.metrics_folder) if settings.metrics_port else None
    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(VerifyShortcut, observe=metrics.observe_verify if metrics else None),
            Middleware(RequestLog, measure=measure_requests(metrics.observer, routes) if metrics else None),
            Middleware(
                CORS,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
                expose_headers=["Retry-After", "WWW-Authenticate", "X-Request-ID"],
            ),
            Middleware(LastResort),
        ],
        exception_handlers=HANDLERS,
        lifespan=_lifespan(settings, keys, clock, metrics),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(
    settings: Settings, keys: KeyWatch, clock: Callable[[], float], metrics: Metrics | None
) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
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
        )
        sessions = Sessions(
            database,
            revocations,
            lifetime=settings.refresh_expiry,
            max_age=settings.session_max_age,
            limit=settings.max_sessions,
            clock=clock,
        )
        rotation = Rotation(database, lifetime=settings.refresh_expiry, max_age=settings.session_max_age, clock=clock)
        account = Account(database=database, passwords=passwords, sessions=sessions)
        auth = Auth(
            database=database,
            passwords=passwords,
            tokens=tokens,
            sessions=sessions,
            rotation=rotation,
            revocations=revocations,
            clock=clock,
        )

        shutdown = Shutdown(settings.shutdown_delay)
        health = Health(reader, revocations, shutdown)

        async def keep_up() -> None:
            await schema
            await revocations.follow()

        schema = asyncio.create_task(background.persist(partial(background.require_schema, database)))
        work = [partial(keep_up), partial(background.purge, sessions), partial(keys.follow, tokens.use)]
        if metrics and settings.metrics_port:
            metrics.set({"hash_queue_limit": settings.hash_queue, "pool_connections_limit": settings.pool_size})
            work.append(partial(background.sample, metrics, health, passwords, database, revocations))
            work.append(partial(metrics.serve, settings.metrics_host, settings.metrics_port))
        tasks = [schema, *(asyncio.create_task(background.persist(each)) for each in work)]
        # Before the first request a wrong schema is found, and it is known which sessions have ended; but a database
        # that is down is not waited for.
        await asyncio.wait({schema}, timeout=0.5)
        if schema.done():
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_START):
                    await revocations.known.wait()
        shutdown.install()
        yield {"auth": auth, "account": account, "health": health}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        passwords.close()
        await health.close()
        await database.close()
        await reader.close()
        shutdown.finish()

    return lifespan
