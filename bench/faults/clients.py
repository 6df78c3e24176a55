"""Clients, each living one user's life after the other, and one that verifies the same token all the time."""

import asyncio
import itertools
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Self

from bench.faults.requests import Answer, Service, Session, User
from bench.seed import PASSWORD, lasting_token

PAUSE = 0.1  # seconds before the same is asked again
VERIFY_INTERVAL = 0.02


class Load:
    """The clients at work, from the beginning of the `async with` to its end; then each ends with its last request.

    A refusal for want of the database, or no answer at all, is asked again; after anything else that was not wanted
    the client leaves this user and goes on with another; where clocks are `skewed`, a token may have expired. Each
    user has so many `logins`, one after the other.
    """

    def __init__(self, service: Service, prefix: str, clients: int, *, skewed: bool = False, logins: int = 1) -> None:
        self._service = service
        self._prefix = prefix
        self._clients = clients
        self._logins = logins
        self._verified = (200, 401) if skewed else (200,)
        self._numbers = itertools.count()
        self._stopping = asyncio.Event()
        self._going = asyncio.Event()
        self._going.set()
        self.users: list[User] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._live_on()) for _ in range(self._clients)]
        self._tasks.append(asyncio.create_task(self._verify_on()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        self._going.set()
        await asyncio.gather(*self._tasks)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Lets the clients wait before their next request; the one that verifies goes on."""
        self._going.clear()
        try:
            yield
        finally:
            self._going.set()

    def has_sessions(self) -> bool:
        """Whether anybody has logged in yet."""
        return any(user.sessions for user in self.users)

    async def _live_on(self) -> None:
        while not self._stopping.is_set():
            user = User(f"{self._prefix}-{next(self._numbers)}")
            self.users.append(user)
            await self._live(user)

    async def _live(self, user: User) -> None:
        signup = await self._insist("signup", user, also=409, username=user.name, password=PASSWORD)
        if signup is None:
            return
        user.acknowledged = True
        user.phantom = signup.status == 409
        for _ in range(self._logins):
            if not await self._log_in_and_out(user):
                return

    async def _log_in_and_out(self, user: User) -> bool:
        login = await self._insist("login", user, username=user.name, password=PASSWORD)
        if login is None:
            return False
        session = Session(login.body["refreshToken"], [login.body["token"]])
        user.sessions.append(session)
        if not await self._use(user, session):
            return False
        session.logout_sent = True
        if await self._insist("logout", user, refreshToken=session.refresh) is None:
            return False
        session.ended_at = time.monotonic()
        return True

    async def _use(self, user: User, session: Session) -> bool:
        for _ in range(5):
            if not await self._insist("verify", user, self._verified, token=session.access[-1]):
                return False
        for _ in range(2):
            answer = await self._insist("refresh", user, refreshToken=session.refresh)
            if answer is None:
                return False
            session.refresh = answer.body["refreshToken"]
            session.access.append(answer.body["token"])
        return True

    async def _insist(
        self,
        step: str,
        user: User,
        first: Collection[int] = (200,),
        *,
        also: int | None = None,
        token: str | None = None,
        **body: str,
    ) -> Answer | None:
        """What was wanted at `first`, or after the first attempt `also`, at last. None to go no further."""
        wanted = set(first)
        while True:
            await self._going.wait()
            if self._stopping.is_set():
                return None
            answer = await self._service.ask(step, user.name, wanted=wanted, token=token, **body)
            if answer.status in wanted:
                return answer
            if answer.status not in {None, 503}:
                return None
            wanted |= {also} if also else set()
            await asyncio.sleep(PAUSE)

    async def _verify_on(self) -> None:
        token = lasting_token(user_id="u", username="watcher", session_id="watcher")
        while not self._stopping.is_set():
            await self._service.ask("verify", "watcher", token=token)
            await asyncio.sleep(VERIFY_INTERVAL)
