"""The composition root: builds the parts, joins them, decides nothing."""

import asyncio
import gc
import logging
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware

from service import logs
from service.auth import PURGE_BATCH, Auth
from service.database import Database
from service.environment import InvalidSetting
from service.errors import Unavailable
from service.keys import UnusableKey
from service.keywatch import KeyWatch
from service.passwords import Passwords
from service.queries import migrations
from service.rotation import Rotation
from service.settings import Settings
from service.tokens import Tokens
from service.web.errors import HANDLERS, LastResort
from service.web.jwks import jwks_route
from service.web.middleware import CORS, RequestLog
from service.web.routes import ROUTES, State
from service.web.shortcut import VerifyShortcut

STARTUP_FAILURE = 3  # uvicorn's own code: a supervisor of workers stops instead of trying again
PURGE_INTERVAL = 300  # seconds

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
        logs.configure(settings.log_level)
        # A hundred requests in flight are no garbage, though by default their number alone would start a collection.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
    if "*" in settings.cors_origins:
        log.warning("cors_any_origin", extra={"hint": "set CORS_ORIGINS to the origins of your pages"})
    app = Starlette(
        routes=[*ROUTES, jwks_route(settings.keys.jwks_max_age)],
        middleware=[
            Middleware(VerifyShortcut),
            Middleware(RequestLog),
            Middleware(
                CORS,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
                expose_headers=["Retry-After", "WWW-Authenticate", "X-Request-ID"],
            ),
            Middleware(LastResort),
        ],
        exception_handlers=HANDLERS,
        lifespan=_lifespan(settings, keys, clock),
    )
    app.router.redirect_slashes = False
    return app


def _lifespan(
    settings: Settings, keys: KeyWatch, clock: Callable[[], float]
) -> Callable[[Starlette], AbstractAsyncContextManager[State]]:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[State]:
        passwords = Passwords(
            rounds=settings.bcrypt_rounds,
            threads=settings.hash_threads,
            queue=settings.hash_queue,
            min_length=settings.password_min_length,
            blocklist=settings.password_blocklist,
        )
        tokens = Tokens(
            keys.ring, access_lifetime=settings.jwt_expiry, issuer=settings.jwt_issuer, audience=settings.jwt_audience
        )
        database = Database(settings.database, size=settings.pool_size, timeout=settings.database_timeout)
        rotation = Rotation(database, lifetime=settings.refresh_expiry, max_age=settings.session_max_age, clock=clock)
        auth = Auth(
            database=database,
            passwords=passwords,
            tokens=tokens,
            rotation=rotation,
            refresh_lifetime=settings.refresh_expiry,
            session_max_age=settings.session_max_age,
            clock=clock,
        )
        schema = asyncio.create_task(_require_schema(database))
        purge = asyncio.create_task(_purge(auth))
        watch = asyncio.create_task(keys.follow(tokens.use))
        # Time for a wrong schema to be found before the first request; a database that is down is not waited for.
        await asyncio.wait({schema}, timeout=0.5)
        yield {"auth": auth}
        for task in (schema, purge, watch):
            task.cancel()
        await asyncio.gather(schema, purge, watch, return_exceptions=True)
        passwords.close()
        await database.close()
        _end_with_zero()

    return lifespan


async def _require_schema(database: Database) -> None:
    """Exits when the database, as soon as it can be asked, says that a migration is missing."""
    while True:
        try:
            missing = await migrations.find_missing(database)
            break
        except Unavailable:
            await asyncio.sleep(1)
    if missing:
        log.critical("schema_outdated", extra={"missing": missing, "hint": "run: yoyo apply --batch"})
        # An exception would pass through lifespan and event loop, and each would print a traceback of its own.
        os._exit(STARTUP_FAILURE)


async def _purge(auth: Auth) -> None:
    """Deletes expired sessions for ever, a batch at a time; harmless when several processes do."""
    while True:
        await asyncio.sleep(PURGE_INTERVAL * random.uniform(0.5, 1.5))  # noqa: S311  # jitter
        with suppress(Unavailable):
            while await auth.purge() == PURGE_BATCH:
                await asyncio.sleep(0.1)


def _end_with_zero() -> None:
    """Lets a SIGTERM that uvicorn served end the process with exit code 0.

    uvicorn raises the signal again once it has stopped, to die of it; held back, it changes nothing any more.
    """
    handler = signal.getsignal(signal.SIGTERM)
    if isinstance(getattr(handler, "__self__", None), uvicorn.Server):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
