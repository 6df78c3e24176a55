"""Accounts, sessions and tokens of a service that already runs, got over HTTP as any client gets them."""

import json
import secrets
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import cached_property
from pathlib import Path
from typing import Self, TypeVar

import httpx
import msgspec

USERS = 40
TOKENS = 10_000  # more than twice what ours remembers; another service may remember none
SESSIONS = 40  # a few more than a load of refreshes has connections
_AT_ONCE = 4
_PATIENCE = 120  # seconds, for each preparation
A = TypeVar("A")
B = TypeVar("B")


class ServiceRefusedError(Exception):
    """The service can't be measured; the text is a sentence for the one at the terminal."""


class Pair(msgspec.Struct):
    """The answer of login and of refresh; who never rotates need not repeat the refresh token."""

    token: str
    refreshToken: str | None = None  # noqa: N815  # its name on the wire


class Remote:
    """A running service, accounts on it, and files of their tokens in `folder`, for wrk to send.

    `tokens` is how many a load is to send in turn.
    """

    def __init__(self, url: str, folder: Path, *, users: int = USERS, tokens: int = TOKENS) -> None:
        self.url = url
        self.tokens = tokens
        self.logins = folder / "logins"
        self._folder = folder
        self._http = httpx.Client(base_url=url, timeout=15, trust_env=False)  # no proxy between us and a loopback
        self._deadline = 0.0
        run, password = secrets.token_hex(4), secrets.token_urlsafe(24)
        self._users = [{"username": f"bench-{run}-{number:04}", "password": password} for number in range(1, users + 1)]

    def __enter__(self) -> Self:
        """Signs up and logs in. Raises ServiceRefusedError."""
        self._folder.mkdir()
        with ExitStack() as unless_it_refuses:
            unless_it_refuses.enter_context(self._http)
            self._each(lambda user: self._post("signup", user), self._users)
            self._sources = self._sessions(len(self._users))
            [first] = self._each(self._refresh, self._sources[:1])
            unless_it_refuses.pop_all()
        self.rotates = first.refreshToken not in {None, self._sources[0]}
        self._sources[0] = first.refreshToken or self._sources[0]
        _write(self.logins, map(json.dumps, self._users))
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def access_tokens(self, count: int) -> Path:
        """A file of about so many fresh access tokens, all distinct. Raises ServiceRefusedError."""
        share = -(-count // len(self._users))
        chains = self._each(lambda source: self._follow(source, share), self._sources)
        self._sources = [last for _, last in chains]
        tokens = dict.fromkeys(token for found, _ in chains for token in found)
        return _write(self._folder / "access", list(tokens)[:count])

    @cached_property
    def staying(self) -> Path:
        """A file of refresh tokens that only loads use which never read the next one. Raises ServiceRefusedError."""
        return _write(self._folder / "staying", self._sessions(SESSIONS))

    def fresh_sessions(self) -> Path:
        """A file of the refresh tokens of new sessions. Raises ServiceRefusedError."""
        return _write(self._folder / "fresh", self._sessions(SESSIONS))

    def settle(self) -> None:
        """Waits for the hashes that a load left behind: a login has its turn after them."""
        with suppress(ServiceRefusedError):  # then the load was refused as well, which its figure says
            self._sessions(1)

    def _sessions(self, count: int) -> list[str]:
        users = [self._users[number % len(self._users)] for number in range(count)]
        return self._each(lambda user: self._pair("login", user).refreshToken or "", users)

    def _follow(self, source: str, count: int) -> tuple[list[str], str]:
        """Access tokens from refreshing so many times, and the refresh token to go on with."""
        tokens = []
        for _ in range(count):
            pair = self._refresh(source)
            tokens.append(pair.token)
            source = pair.refreshToken or source
        return tokens, source

    def _refresh(self, source: str) -> Pair:
        return self._pair("refresh", {"refreshToken": source})

    def _each(self, work: Callable[[A], B], items: Iterable[A]) -> list[B]:
        self._deadline = time.monotonic() + _PATIENCE
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                return list(pool.map(work, items))
            finally:
                self._deadline = 0.0  # what still runs after a failure ends at its next request

    def _pair(self, endpoint: str, body: dict[str, str]) -> Pair:
        try:
            return msgspec.json.decode(self._post(endpoint, body), type=Pair)
        except msgspec.DecodeError as error:
            raise ServiceRefusedError(
                f"{self.url} answered /auth/{endpoint} not as the contract says: {error}"
            ) from None

    def _post(self, endpoint: str, body: dict[str, str]) -> bytes:
        if time.monotonic() > self._deadline:
            raise ServiceRefusedError(f"{self.url} is too slow: its tokens are not there after {_PATIENCE} s")
        try:
            answer = self._http.post(f"/auth/{endpoint}", json=body)
        except httpx.RequestError as error:
            raise ServiceRefusedError(f"{self.url} does not answer /auth/{endpoint}: {error}") from None
        if answer.status_code == 429:
            raise ServiceRefusedError(
                f"{self.url} limits how often /auth/{endpoint} may be asked: lift that limit first"
            )
        if not answer.is_success:
            said = f"{answer.status_code} {answer.text[:200]}".strip()
            raise ServiceRefusedError(f"{self.url} refused /auth/{endpoint}: {said}")
        return answer.content


def _write(path: Path, lines: Iterable[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
