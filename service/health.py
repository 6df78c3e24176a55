"""Whether this process should be sent requests: what it needs is there, and it is not about to stop."""

import asyncio
import math
from dataclasses import dataclass
from time import monotonic

from service.database import Database
from service.errors import Unavailable
from service.queries import migrations
from service.revocations import Revocations
from service.shutdown import Shutdown

DEADLINE = 0.8  # seconds; the checkers of load balancers give up after one
INTERVAL = 1  # seconds


@dataclass(frozen=True, slots=True)
class Readiness:
    """Each check is `ok` or says what is the matter; `revocation_age` is seconds, None where nothing was read."""

    checks: dict[str, str]
    revocation_age: float | None

    @property
    def is_ready(self) -> bool:
        return set(self.checks.values()) == {"ok"}


class Health:
    """Asks the database once a second at most, however many want to know."""

    def __init__(self, database: Database, revocations: Revocations, shutdown: Shutdown) -> None:
        self._database = database
        self._revocations = revocations
        self._shutdown = shutdown
        self._question: asyncio.Task[dict[str, str]] | None = None
        self._asked_at = -math.inf

    async def check(self) -> Readiness:
        """How things are now, within DEADLINE; what the database said may be INTERVAL older."""
        now = monotonic()
        if not self._question or (self._question.done() and now - self._asked_at >= INTERVAL):
            self._question, self._asked_at = asyncio.create_task(self._ask()), now
        answer = await asyncio.shield(self._question)  # for all who wait, though one of them goes away
        age = self._revocations.age
        return Readiness(
            {
                **answer,
                "revocations": "stale" if self._revocations.is_stale else "ok",
                "shutdown": "stopping" if self._shutdown.stopping else "ok",
            },
            None if math.isinf(age) else age,
        )

    async def close(self) -> None:
        """Gives up a question that is still open: its connection is about to be closed."""
        if self._question:
            self._question.cancel()
            await asyncio.wait({self._question})

    async def _ask(self) -> dict[str, str]:
        try:
            async with asyncio.timeout(DEADLINE):
                missing = await migrations.find_missing(self._database)
        except (Unavailable, TimeoutError):
            return {"database": "unavailable", "schema": "unknown"}
        return {"database": "ok", "schema": "outdated" if missing else "ok"}
