"""The short way through `GET /auth/verify`: a valid token is answered before routing and middleware."""

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import AuthError
from service.tokens import AccessClaims
from service.web.identity import identity_headers
from service.web.middleware import HEADERS, OFFER, new_request_id
from service.web.payload import encode
from service.web.wire import Verified, VerifiedUser

_HEADERS = [(b"content-type", b"application/json"), *HEADERS]
_ASKS_FOR_MORE = {b"origin", b"x-request-id", OFFER}  # CORS, an id of its own, the end of the connection

log = logging.getLogger(__name__)


class VerifyShortcut:
    """Answers a plain request with a valid token; whatever else goes the long way, to be refused or logged there.

    It decides nothing: the token is judged by the same code, at half the cost of the whole request.
    """

    def __init__(self, app: ASGIApp, observe: Callable[[float], None] | None = None) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter() if self._observe else 0
        claims = _verified(scope) if scope["type"] == "http" and scope["path"] == "/auth/verify" else None
        if claims is None:
            await self._app(scope, receive, send)
            return
        answer = encode(Verified(user=VerifiedUser(username=claims.username)))
        length = (b"content-length", b"%d" % len(answer))
        request_id = (b"x-request-id", new_request_id().encode())
        headers = [*_HEADERS, *identity_headers(claims), length, request_id]
        if self._observe:  # before the client can know that it was answered
            self._observe(time.perf_counter() - started)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


def _verified(scope: Scope) -> AccessClaims | None:
    if scope["method"] != "GET" or log.isEnabledFor(logging.DEBUG):
        return None
    tokens = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            tokens.append(value)
        elif name in _ASKS_FOR_MORE:
            return None
    if len(tokens) != 1 or not tokens[0].startswith(b"Bearer "):
        return None
    try:
        claims: AccessClaims = scope["state"]["auth"].verify(tokens[0][7:].decode("latin-1"))
    except AuthError:
        return None
    return claims
