"""What every request goes through: an id, a log line, headers, CORS."""

import logging
import random
import re
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Network

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import logs
from service.web.clients import Clients
from service.web.payload import render
from service.web.wire import Refusal

_NO_SNIFF = (b"x-content-type-options", b"nosniff")
HEADERS = [(b"cache-control", b"no-store"), _NO_SNIFF]
_WHERE_STORED = [_NO_SNIFF, (b"vary", b"Origin")]
_WELL_FORMED_ID = re.compile(rb"[\w.:/+=-]{1,128}", re.ASCII)
_HOT = {"/auth/verify", "/livez", "/readyz"}  # asked all the time: a line each would bury the others
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}  # all others are one series
_UNMATCHED = "unmatched"  # no such path, or a preflight, which is answered before there is a route
_MAX_PATH = 64  # characters; a token in a path does not get into the log whole
# Behind CONNECT, and a head that offers another protocol, uvicorn's parser expects that protocol and no body, and takes
# the body for the next request: where a proxy passes such a head on, others would be given the answer.
OFFER = b"upgrade"
_LAST_ONE = (b"connection", b"close")

Observe = Callable[[str, str, int, float], None]  # method, template of the route, status, seconds

log = logging.getLogger(__name__)


class RequestLog:
    """Gives a request its id and its client, its answer the headers that all have, and the log one line."""

    def __init__(
        self, app: ASGIApp, trusted_proxies: Sequence[IPv4Network | IPv6Network], observe: Observe | None = None
    ) -> None:
        self._app = app
        self._clients = Clients(trusted_proxies)
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # White space is no part of a value (RFC 9110 §5.5); uvicorn leaves what is behind it.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        address = self._clients.address_of(scope)
        scope["client"] = (address, 0) if address else None  # from here on, who is meant and not who is connected
        started = time.perf_counter()
        status = 499  # as nginx notes a client that left, of which we hear while its body is read
        own_id = _request_id(scope)
        marks = [(b"x-request-id", own_id.encode())]
        if scope["method"] == "CONNECT" or any(name == OFFER for name, _ in scope["headers"]):
            marks.append(_LAST_ONE)
        logs.request.set({"request_id": own_id, "client": address})

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                common = _WHERE_STORED if b"cache-control" in given else HEADERS
                missing = [header for header in common if header[0] not in given]  # CORS may have said that it varies
                message["headers"] = [*message["headers"], *missing, *marks]
            await send(message)

        try:
            await self._app(scope, receive, send_marked)
        finally:
            seconds = time.perf_counter() - started
            if self._observe:
                method = scope["method"] if scope["method"] in _METHODS else "other"
                route = scope["route"].path if "route" in scope else _UNMATCHED
                self._observe(method, route, status, seconds)
            _log(scope, status, seconds)


def new_request_id() -> str:
    """128 random bits in hexadecimal: unique, and not worth a call of the system."""
    return random.randbytes(16).hex()  # noqa: S311  # no secret


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _WELL_FORMED_ID.fullmatch(value):
            return str(value, "ascii")
    return new_request_id()


def _log(scope: Scope, status: int, seconds: float) -> None:
    is_hot = status == 200 and scope["path"] in _HOT
    level = logging.DEBUG if is_hot else logging.INFO
    if log.isEnabledFor(level):
        fields = {
            "method": scope["method"],
            "path": scope["path"][:_MAX_PATH],
            "status": status,
            "ms": round(seconds * 1000, 2),
        }
        log.log(level, "request", extra=fields)


class CORS(CORSMiddleware):
    """Starlette's, which a request without Origin need not meet, with its refusal of a preflight in our shape."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or any(name == b"origin" for name, _ in scope["headers"]):
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code != 400:
            return response
        headers = {name: value for name, value in response.headers.items() if not name.startswith("content-")}
        refusal = Refusal(error="This origin, method or header is not allowed.", code="cors_refused")
        return render(refusal, 400, headers)
