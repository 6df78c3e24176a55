"""Whether a service kept what it had promised: what the clients were told, beside what it says after the fault."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass

from bench.faults.clients import PAUSE
from bench.faults.journal import Journal
from bench.faults.requests import Service, Session, User
from bench.seed import PASSWORD

REVOCATION_INTERVAL = 1.0  # seconds, as the service is set
ATTEMPTS = 300  # a refusal of the moment is no answer, nor is half a minute of them
AT_ONCE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is wrong, in numbers; all but `phantoms` have to be 0, and `leaks` empty.

    `lost` writes were acknowledged and are not there; `resurrected` sessions had been ended; `errors` are answers of
    500 and up that are no 503 with Retry-After, seen by clients or in the log; `tracebacks` stand in the log; `wrong`
    answers fit no fault, such as a 401 for a live session; `phantoms` were written though no answer said so.
    """

    lost: int
    resurrected: int
    errors: int
    tracebacks: int
    wrong: int
    phantoms: int
    checked: int
    leaks: Sequence[str]

    @property
    def kept(self) -> bool:
        return not (self.lost or self.resurrected or self.errors or self.tracebacks or self.wrong or self.leaks)


async def compare(
    service: Service, users: Sequence[User], stored: set[str], journal: Journal, log: str, leaks: Sequence[str]
) -> Verdict:
    """Asks the service about each user and session that the clients know of; `stored` are the sessions it has."""
    sessions = [session for user in users for session in user.sessions]
    acknowledged = [user for user in users if user.acknowledged]
    open_ones = [session for session in sessions if not session.logout_sent]
    ended = [session for session in sessions if session.ended_at is not None]
    await _until_all_know(ended)
    missing = await _count(_is_lost_session(service, session) for session in open_ones)
    strangers = await _count(_is_lost_user(service, user) for user in acknowledged)
    risen = await resurrected(service, ended)
    known = {_id_of(session) for session in sessions}
    return Verdict(
        lost=missing + strangers,
        resurrected=risen,
        errors=max(_errors(journal), log.count('"status":500')),
        tracebacks=log.count("Traceback"),
        wrong=sum(1 for each in journal.ended() if not each.expected and each.status not in {None, 503}),
        phantoms=sum(user.phantom for user in users) + len(stored - known),
        checked=len(acknowledged) + len(open_ones) + len(ended),
        leaks=leaks,
    )


async def resurrected(service: Service, ended: Iterable[Session]) -> int:
    """How many of the sessions whose logout was answered, and REVOCATION_INTERVAL ago, are taken for live ones."""
    return await _count(_is_resurrected(service, session) for session in ended)


async def _until_all_know(ended: Sequence[Session]) -> None:
    last = max((session.ended_at for session in ended if session.ended_at is not None), default=0.0)
    await asyncio.sleep(max(0.0, last + REVOCATION_INTERVAL - time.monotonic()))


async def _is_lost_user(service: Service, user: User) -> bool:
    return await _status(service, "login", username=user.name, password=PASSWORD) != 200


async def _is_lost_session(service: Service, session: Session) -> bool:
    return await _status(service, "refresh", refreshToken=session.refresh) != 200


async def _is_resurrected(service: Service, session: Session) -> bool:
    """By its last refresh token, or by an access token at any process."""
    if await _status(service, "refresh", refreshToken=session.refresh) != 401:
        return True
    asked = [(url, token) for url in service.urls for token in (session.access[0], session.access[-1])]
    return any([await _status(service, "verify", url=url, token=token) != 401 for url, token in asked])


async def _status(
    service: Service, step: str, *, token: str | None = None, url: str | None = None, **body: str
) -> int | None:
    for _ in range(ATTEMPTS):
        answer = await service.ask(step, "check", wanted=(200, 401), token=token, url=url, **body)
        if answer.status not in {None, 503}:
            break
        await asyncio.sleep(PAUSE)
    return answer.status


async def _count(checks: Iterable[Awaitable[bool]]) -> int:
    """How many of the checks are true."""
    places = asyncio.Semaphore(AT_ONCE)

    async def placed(check: Awaitable[bool]) -> bool:
        async with places:
            return await check

    return sum(await asyncio.gather(*(placed(check) for check in checks)))


def _errors(journal: Journal) -> int:
    """RFC 9110 §15.6.4: a 503 may say when to come back; ours always does."""
    return sum(
        1
        for each in journal.ended()
        if each.status is not None and each.status >= 500 and not (each.status == 503 and each.retry_after)
    )


def _id_of(session: Session) -> str:
    payload = session.refresh.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sid"])
