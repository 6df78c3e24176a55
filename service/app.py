"""The composition root: the application, with what each request passes through; decides nothing."""

import gc
import logging
import sys
import time
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.middleware import Middleware

from service import logs
from service.background import STARTUP_FAILURE
from service.environment import InvalidSetting
from service.keys import UnusableKey
from service.keywatch import KeyWatch
from service.lifespan import lifespan
from service.metrics import Metrics
from service.settings import Settings
from service.web.errors import HANDLERS, LastResort
from service.web.health import HEALTH_ROUTES
from service.web.introspection import introspection_routes
from service.web.jwks import jwks_route
from service.web.middleware import CORS, RequestLog
from service.web.openapi import openapi_route
from service.web.routes import ROUTES
from service.web.shortcut import VerifyShortcut

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
        # A thread that compares an imported hash in Python would keep the event loop waiting for 5 ms each time.
        sys.setswitchinterval(0.0005)
    if "*" in settings.cors_origins:
        log.warning("cors_any_origin", extra={"hint": "set CORS_ORIGINS to the origins of your pages"})
    if settings.database.is_readable_on_the_way:
        log.warning("database_without_tls", extra={"hint": "set ssl_ca in DATABASE_URL"})
    metrics = Metrics(settings.metrics_folder) if settings.metrics_port else None
    described = [
        *ROUTES,
        *introspection_routes(settings.introspection_secret),
        *HEALTH_ROUTES,
        jwks_route(settings.keys.jwks_max_age),
    ]
    app = Starlette(
        routes=[*described, openapi_route(described)],
        middleware=[
            Middleware(
                RequestLog, trusted_proxies=settings.trusted_proxies, observe=metrics.observe if metrics else None
            ),
            Middleware(
                CORS,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "PUT", "DELETE"],
                allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
                expose_headers=["Retry-After", "WWW-Authenticate", "X-Request-ID"],
            ),
            Middleware(LastResort),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan(settings, keys, clock, metrics),
    )
    app.router.redirect_slashes = False
    # Outside Starlette's own middleware, too, which adds a coroutine to each part of an answer.
    app.middleware_stack = VerifyShortcut(app.build_middleware_stack(), metrics.observe_verify if metrics else None)
    return app
