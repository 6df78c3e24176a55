"""Which sessions have ended while access tokens of theirs are genuine: read from the database, known in memory."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable
from zlib import crc32

from service.database import Database, Statements
from service.errors import SessionRevoked, StaleRevocations, Unavailable
from service.queries import revocations

OVERLAP = 30  # seconds; a transaction that began that long ago may still commit a row with an earlier id
GRACE = 60  # seconds; what the clocks of machines, and a refresh under way, may add to an access token's life
PAGE = 1000  # rows read in one turn of the event loop

log = logging.getLogger(__name__)


class Revocations:
    """Every process reads them twice in an `interval`, so that each knows of an end before one has passed. 0 is never.

    `lifetime` is that of an access token, after which nobody need know any more. `max_age` is how old the knowledge
    may be; without one, the last is used for as long as the database is away. All are seconds. `beside` has other
    connections to the same server.
    """

    def __init__(
        self,
        database: Database,
        *,
        interval: float,
        lifetime: int,
        max_age: float | None = None,
        beside: Database | None = None,
    ) -> None:
        self._database = database
        self._beside = beside
        self._interval = interval
        self.lifetime = lifetime + GRACE  # of what must be known about an end
        self._max_age = max_age
        # Two generations: who is in either has ended, and the older is dropped whole when the younger is old enough.
        self._young: set[str] = set()
        self._old: set[str] = set()
        self._turned_at = time.monotonic()
        self._began_at = time.monotonic()
        self._read_at = self._left_at = float("-inf")
        self.known = asyncio.Event()  # that the first reading is done, or none is wanted
        self._last = 0  # the last id that is known
        self._marks: deque[tuple[float, int]] = deque()  # when a reading was done, and the last id that it knew of
        # What is known past the first mark, where others may turn up: ids, and the CRC-32 of their sessions.
        self._unsettled: dict[int, int] = {}

    def require_live(self, session_id: str) -> None:
        """Raises SessionRevoked when the session is known to have ended, StaleRevocations when too little is known."""
        if self.has_ended(session_id):
            raise SessionRevoked
        if self._is_too_old:
            raise StaleRevocations

    def has_ended(self, session_id: str) -> bool:
        """Whether the session is known to have ended."""
        return session_id in self._young or session_id in self._old

    @property
    def is_stale(self) -> bool:
        """Whether too little is known: nothing yet, though it is wanted, or nothing as young as `max_age` asks for."""
        return not self.known.is_set() or self._is_too_old

    @property
    def _is_too_old(self) -> bool:
        return self._max_age is not None and self.age > self._max_age

    @property
    def age(self) -> float:
        """Seconds since the knowledge was complete; infinite before the first reading."""
        return time.monotonic() - self._read_at

    @property
    def remembered(self) -> int:
        """How many ended sessions are known."""
        return len(self._young) + len(self._old)

    @property
    def silence(self) -> float:
        """As `age`, but counted from the start where nothing was read yet; 0 where nothing is to be."""
        return min(self.age, time.monotonic() - self._began_at) if self._interval else 0

    async def record(self, transaction: Statements, session_ids: list[str]) -> None:
        """Tells all processes, as a part of the transaction that ends the sessions, one at least."""
        if self._interval:
            await revocations.insert(transaction, session_ids, self.lifetime)

    def add(self, session_ids: Iterable[str]) -> None:
        """Tells this process at once."""
        if self._interval:
            self._young.update(session_ids)

    async def follow(self) -> None:
        """Reads for ever; a database that is away changes nothing but the age of what is known."""
        failing = False
        while self._interval:
            try:
                await self.read()
            except Unavailable:
                if not failing:
                    log.warning("revocations_unread")
                failing = True
            else:
                if failing:
                    log.info("revocations_read")
                failing = False
            await asyncio.sleep(self._interval / 2)
        self.known.set()

    async def read(self) -> None:
        """Learns of the sessions that ended since the last reading. Raises Unavailable.

        Where nothing happened, one statement: it counts the rows of the last OVERLAP, since one that was committed late
        may be before others that are known, and sums them up, as a server that took over may have lost the last ones.
        """
        began = time.monotonic()
        if not self._marks:
            self._marks.append((began, await revocations.find_last_before(self._database, OVERLAP)))
            await self._fetch(0)
        _, settled = self._marks[0]
        found = await revocations.sum_up(self._database, settled, self._last)
        if found.is_read_only and began - self._left_at >= self._interval:
            self._left_at = began  # another server may have taken over, and who only reads would never notice
            for each in filter(None, (self._database, self._beside)):
                each.reconnect()
        is_another = found.rows == len(self._unsettled) and found.checksum != sum(self._unsettled.values())
        if found.last_id < self._last or is_another:  # the table was restored, or lost its end, and counts anew
            self._marks.clear()
            self._unsettled.clear()
            self._last = 0
            await self.read()
            return
        if found.rows != len(self._unsettled):
            await self._fetch(settled)
        elif found.last_id > self._last:
            await self._fetch(self._last)
        self._settle(time.monotonic())
        self._read_at = began
        self.known.set()
        if began - self._turned_at >= self.lifetime:
            self._old, self._young, self._turned_at = self._young, set(), began

    async def _fetch(self, last_id: int) -> None:
        while rows := await revocations.find_after(self._database, last_id, PAGE):
            last_id = rows[-1].id
            self.add(row.session_id for row in rows)
            self._unsettled.update(
                (row.id, crc32(row.session_id.encode())) for row in rows if row.id > self._marks[0][1]
            )
            self._last = max(self._last, last_id)
            if len(rows) < PAGE:
                break

    def _settle(self, now: float) -> None:
        self._marks.append((now, self._last))
        before = self._marks[0]
        while len(self._marks) > 1 and self._marks[1][0] <= now - OVERLAP:
            self._marks.popleft()
        if self._marks[0] != before:
            self._unsettled = {id_: known for id_, known in self._unsettled.items() if id_ > self._marks[0][1]}
