"""From an error to its answer: every refusal of this service has the shape {"error", "code"}."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, ExceptionHandler, Message, Receive, Scope, Send

from service.errors import (
    AuthError,
    InvalidClient,
    InvalidCredentials,
    InvalidInput,
    InvalidToken,
    MissingToken,
    SessionNotFound,
    TooManyAttempts,
    Unavailable,
    UsernameTaken,
)
from service.web.payload import render
from service.web.wire import Refusal

# A subclass without a line of its own answers as its nearest ancestor does.
STATUS: dict[type[AuthError], int] = {
    InvalidInput: 400,
    InvalidCredentials: 401,
    InvalidClient: 401,
    InvalidToken: 401,
    SessionNotFound: 404,
    UsernameTaken: 409,
    TooManyAttempts: 429,
    Unavailable: 503,
}

# Written out, since the phrases of the standard library change with its version.
HTTP_ERRORS = {
    404: ("not_found", "There is nothing here."),
    405: ("method_not_allowed", "This path does not support this method."),
    408: ("request_timeout", "The body did not arrive in time."),
    413: ("content_too_large", "The body is too large."),
    415: (
        "unsupported_media_type",
        "The Content-Type must be application/json, or application/x-www-form-urlencoded at introspect and revoke.",
    ),
    500: ("internal_error", "Something went wrong; it has been logged."),
}

log = logging.getLogger(__name__)


def status_of(kind: type[AuthError]) -> int:
    """The status of an error's class, or of the nearest ancestor that has one."""
    return next(STATUS[ancestor] for ancestor in kind.__mro__ if ancestor in STATUS)


def refuse(error: AuthError, shape: type[Refusal] = Refusal, **more: Any) -> Response:
    """The answer to an error, with what a shape has `more` than others."""
    status = status_of(type(error))
    headers = {}
    if status == 401:
        headers["WWW-Authenticate"] = _challenge(error)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return render(shape(error=str(error), code=error.code, **more), status, headers)


def _challenge(error: AuthError) -> str:
    """RFC 9110 §15.5.2, RFC 6750 §3.1: the error is named only where a token was presented."""
    if isinstance(error, InvalidClient):
        return 'Basic realm="introspection"'
    presented = isinstance(error, InvalidToken) and not isinstance(error, MissingToken)
    return 'Bearer error="invalid_token"' if presented else "Bearer"


def _refuse_http(status: int, headers: Mapping[str, str] | None = None) -> Response:
    code, sentence = HTTP_ERRORS[status]
    return render(Refusal(error=sentence, code=code), status, headers)


# Coroutines, all of them: for a plain function Starlette would go to a thread and back.
async def _on_auth_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AuthError)
    return refuse(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _refuse_http(error.status_code, error.headers)


HANDLERS: dict[type[Exception], ExceptionHandler] = {AuthError: _on_auth_error, HTTPException: _on_http_exception}


class LastResort:
    """Answers what no handler knows: a bug with a bare 500, the end of the service's patience at its stop with 503.

    It stands inside CORS, so that a browser may read the answer; the details go to the log.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_noting_start(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting_start)
        except asyncio.CancelledError:
            # Only a server that stops cancels a request; it would log a traceback and answer 500 itself.
            if started or scope["type"] != "http":
                raise
            shape = scope["route"].shapes.get(503, Refusal) if "route" in scope else Refusal
            await refuse(Unavailable(), shape)(scope, receive, send)
        except ClientDisconnect:  # amid its body: nobody is there to read an answer
            pass
        except Exception:
            log.exception("unhandled_error")
            if started or scope["type"] != "http":
                raise
            await _refuse_http(500)(scope, receive, send)
