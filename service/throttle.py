"""Who may guess a password, or sign up, once more: what counts is counted, and refused past a limit."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import NoReturn

from service.errors import AuthError, InvalidCredentials, Overloaded, TooManyAttempts, UsernameTaken
from service.ratelimits import Limit, RateLimits
from service.tallies import Tallies, Tally

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Rule:
    """How many attempts may end with what is `counted`; a success counts too, or forgets them all, or neither."""

    limit: Limit
    by: str  # name or address, as the log says what was hit
    counted: type[AuthError]
    counts_success: bool = False
    forgets_at_success: bool = False


@dataclass(frozen=True, slots=True)
class _Bucket:
    """Whose attempts a rule counts together."""

    rule: _Rule
    subject: str


class _Gate:
    """The attempts on one bucket that are under way in this process: `users` in all, `pending` ones admitted."""

    def __init__(self) -> None:
        self.turn = asyncio.Condition()
        self.users = 0
        self.pending = 0


class Throttle:
    """Admits attempts; those under way count as if they would fail, and what is too many beside them waits.

    So among any number of guesses at once no more than the limit are compared, and among right ones all are. Of the
    `waiting` for whom there is room at the hashes, those of one name or address are a quarter at most, and as many as
    `waiting` wait for that. Loopback and what is in `exempt` have no limit as an address.
    """

    def __init__(self, limits: RateLimits, *, exempt: Sequence[IPv4Network | IPv6Network] = (), waiting: int) -> None:
        self._names = _Rule(limits.rate_limit_login_name, "name", InvalidCredentials, forgets_at_success=True)
        self._addresses = _Rule(limits.rate_limit_login_address, "address", InvalidCredentials)
        self._signups = _Rule(limits.rate_limit_signup, "address", UsernameTaken, counts_success=True)
        self._is_on = limits.rate_limits
        self._tallies = Tallies(limits.rate_limit_storage)
        self._exempt = exempt
        self._waiting = waiting
        self._share = max(1, waiting // 4)  # else right passwords, which nothing counts, would leave no room for others
        self._gates: dict[_Bucket, _Gate] = {}

    def guess(self, name: str | None, ip: str | None = None) -> AbstractAsyncContextManager[None]:
        """Stands around the comparison of a password and counts InvalidCredentials; a success forgets the name's.

        `name` is the look-up key, or None where it can be nobody's. Raises TooManyAttempts, Overloaded.
        """
        buckets = self._from(ip, self._addresses, "login")
        if name is not None:
            buckets.append(_Bucket(self._names, f"login name {name}"))
        return self._places(
            buckets, lambda limits: log.info("login_throttled", extra={"username": name, "limits": limits})
        )

    def signup(self, ip: str | None) -> AbstractAsyncContextManager[None]:
        """Stands around a signup and counts it, also when the name is taken. Raises TooManyAttempts, Overloaded."""
        buckets = self._from(ip, self._signups, "signup")
        return self._places(buckets, lambda limits: log.info("signup_throttled", extra={"limits": limits}))

    @property
    def storage_is_down(self) -> bool:
        """Whether attempts are not counted, since the storage of the counts is away."""
        return self._tallies.is_down

    async def close(self) -> None:
        """Closes the connections to the storage of the counts."""
        await self._tallies.close()

    def _from(self, ip: str | None, rule: _Rule, purpose: str) -> list[_Bucket]:
        address = ip_address(ip) if ip else None
        if address is None or address.is_loopback or any(address in network for network in self._exempt):
            return []  # the machine itself, or a proxy: one limit for everybody behind it would be an outage
        if address.version == 6:  # whoever has an address has the other 2^64 of its network too
            address = ip_network((address, 64), strict=False).network_address
        return [_Bucket(rule, f"{purpose} address {address}")]

    @asynccontextmanager
    async def _places(self, buckets: Sequence[_Bucket], tell: Callable[[list[str]], None]) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for bucket in buckets if self._is_on else ():
                if not await stack.enter_async_context(self._place(bucket)):
                    await self._refuse(buckets, tell)
            yield

    @asynccontextmanager
    async def _place(self, bucket: _Bucket) -> AsyncIterator[bool]:
        """True where there is one, and then its end is noted."""
        gate = self._gates.setdefault(bucket, _Gate())
        gate.users += 1
        outcome: BaseException | None = None
        is_admitted = False
        try:
            is_admitted = await self._admit(gate, bucket)
            yield is_admitted
        except BaseException as error:
            outcome = error
            raise
        finally:
            try:
                if is_admitted:
                    await self._note(gate, bucket, outcome)
            finally:
                gate.users -= 1
                if not gate.users:
                    del self._gates[bucket]

    async def _admit(self, gate: _Gate, bucket: _Bucket) -> bool:
        """Waits until what is pending leaves room, or until the limit is reached: then False. Raises Overloaded."""
        if gate.users - gate.pending > self._waiting:
            raise Overloaded
        async with gate.turn:
            try:
                while (left := (await self._read(bucket)).left) and gate.pending >= min(left, self._share):
                    await gate.turn.wait()
                if left:
                    gate.pending += 1
                return left > 0
            finally:  # the next one can be admitted too, or has to be refused too; also when this one went away
                gate.turn.notify()

    async def _note(self, gate: _Gate, bucket: _Bucket, outcome: BaseException | None) -> None:
        rule = bucket.rule
        try:
            async with gate.turn:
                gate.turn.notify()  # whoever is told goes on when this turn ends
                if isinstance(outcome, rule.counted) or (outcome is None and rule.counts_success):
                    await self._tallies.add(rule.limit, bucket.subject)
                elif outcome is None and rule.forgets_at_success:
                    await self._tallies.forget(rule.limit, bucket.subject)
        finally:  # also where it was cancelled amid its wait for the turn: whoever has that tells the next
            gate.pending -= 1

    async def _refuse(self, buckets: Sequence[_Bucket], tell: Callable[[list[str]], None]) -> NoReturn:
        tallies = [(bucket.rule.by, await self._read(bucket)) for bucket in buckets]
        full = {by: tally.seconds for by, tally in tallies if not tally.left}
        tell(list(full))
        raise TooManyAttempts(retry_after=max([1, *full.values()]))

    async def _read(self, bucket: _Bucket) -> Tally:
        return await self._tallies.read(bucket.rule.limit, bucket.subject)
