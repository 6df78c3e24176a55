"""The service as a client sees it, and what a client keeps of its answers."""

import asyncio
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import httpx

from bench.faults.journal import Journal

DEADLINE = 5.0  # seconds for a whole answer
PATHS = {
    "signup": ("POST", "/auth/signup"),
    "login": ("POST", "/auth/login"),
    "verify": ("GET", "/auth/verify"),
    "refresh": ("POST", "/auth/refresh"),
    "logout": ("POST", "/auth/logout"),
}


class Answer(NamedTuple):
    """A status, None where no answer came, and the members of the body."""

    status: int | None
    body: dict[str, Any]


@dataclass
class Session:
    """A login that was answered: the newest refresh token, every access token, and how far its logout came."""

    refresh: str
    access: list[str]
    logout_sent: bool = False
    ended_at: float | None = None


@dataclass
class User:
    """Somebody with a name; `acknowledged` once the service has said that there is such a user."""

    name: str
    acknowledged: bool = False
    phantom: bool = False  # the signup had no 200, and the next one said that the name is taken
    sessions: list[Session] = field(default_factory=list)


class Service:
    """The service at one address, or at several in turn, as a client sees it; every request is in the journal."""

    def __init__(self, urls: Sequence[str], journal: Journal) -> None:
        self.urls = urls
        self.journal = journal
        self._turns = itertools.cycle(urls)

    async def __aenter__(self) -> Self:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        # No timeout of its parts: the deadline is for the whole.
        self._http = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(
        self,
        step: str,
        user: str,
        *,
        wanted: Collection[int] = (200,),
        token: str | None = None,
        url: str | None = None,
        **body: str,
    ) -> Answer:
        """Asks once, within the deadline."""
        method, path = PATHS[step]
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = self.journal.note_sent(step, user)
        answer: httpx.Response | None = None
        trouble = None
        try:
            async with asyncio.timeout(DEADLINE):
                answer = await self._http.request(
                    method, (url or next(self._turns)) + path, json=body or None, headers=headers
                )
        except TimeoutError:
            trouble = "late"
        except httpx.ConnectError:
            trouble = "refused"
        except httpx.TransportError:
            trouble = "broken"
        status = answer.status_code if answer else None
        retry_after = answer.headers.get("Retry-After") if answer else None
        expected = status in wanted
        self.journal.note_end(request, status=status, trouble=trouble, retry_after=retry_after, expected=expected)
        return Answer(status, answer.json() if answer and expected else {})
