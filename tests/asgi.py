"""A service called at its ASGI interface: no socket and no HTTP client, so that a request takes microseconds."""

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Scope

from service.app import create_app
from service.settings import Settings

Fields = list[tuple[bytes, bytes]]
CLIENT = ("192.0.2.1", 4711)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `headers` have the names in lower case. The status of no answer at all is 499."""

    status: int
    headers: Fields
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: bytes) -> bytes | None:
        """The value of a header that may be there once; fails where it is there twice."""
        values = [value for each, value in self.headers if each == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None


@dataclass(frozen=True, slots=True)
class Process:
    """A service with its parts, as one process of several on a database."""

    app: ASGIApp
    parts: dict[str, Any]

    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: Fields | None = None,
        body: Iterable[bytes] = (),
        client: tuple[str, int] | None = CLIENT,
        leaves: bool = False,
    ) -> Answer:
        """Sends a request whose body comes in pieces, after which the client `leaves` or waits for its answer."""
        scope: Scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
            "method": method, "path": path, "raw_path": path.encode("utf-8"), "query_string": b"", "root_path": "",
            "headers": headers or [], "client": client, "server": ("service", 80), "state": self.parts,
        }  # fmt: skip
        incoming, sent = _messages(body, leaves=leaves), _Sent()

        async def receive() -> Message:
            return next(incoming)

        await self.app(scope, receive, sent)
        return sent.answer()

    async def post(self, path: str, members: object, *, token: str | None = None, method: str = "POST") -> Answer:
        """Sends a JSON body, as whoever holds the access token."""
        headers = [(b"content-type", b"application/json"), *([bearer(token)] if token is not None else [])]
        return await self.call(method, path, headers=headers, body=[json.dumps(members).encode()])


class _Sent:
    """Takes an answer in the order that ASGI wants: a start, then pieces until the last one."""

    def __init__(self) -> None:
        self._start: Message | None = None
        self._pieces: list[bytes] = []
        self._complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert self._start is None
            self._start = message
        else:
            assert message["type"] == "http.response.body"
            assert self._start is not None
            assert not self._complete
            self._pieces.append(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def answer(self) -> Answer:
        if self._start is None:
            return Answer(499, [], b"")
        assert self._complete
        return Answer(self._start["status"], list(self._start["headers"]), b"".join(self._pieces))


def bearer(token: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + token.encode("latin-1")


def _messages(body: Iterable[bytes], *, leaves: bool) -> Iterator[Message]:
    for piece in body:
        yield {"type": "http.request", "body": piece, "more_body": True}
    if not leaves:
        yield {"type": "http.request", "body": b"", "more_body": False}
    while True:
        yield {"type": "http.disconnect"}


@asynccontextmanager
async def process(settings: Settings, clock: Callable[[], float]) -> AsyncIterator[Process]:
    """Runs a service inside the test."""
    app = create_app(settings, clock)
    async with app.router.lifespan_context(app) as parts:
        yield Process(app, dict(parts or {}))
