"""Sign up, log in, verify, refresh, log out: what each means, without HTTP and without SQL."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from uuid_utils.compat import uuid7

from service import usernames
from service.database import Database
from service.errors import DatabaseUnavailable, InvalidCredentials, InvalidToken, SessionRevoked
from service.passwords import Passwords
from service.queries import users
from service.queries.refresh_tokens import Session
from service.queries.users import User
from service.revocations import Revocations
from service.rotation import Rotation, Step
from service.sessions import Sessions
from service.throttle import Throttle
from service.tokens import AccessClaims, Tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client holds after a login or a refresh."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """The use cases; `clock` gives seconds since 1970.

    Whatever needs the database raises Unavailable when it can't be had, and so does a full queue for hashing.
    """

    database: Database
    passwords: Passwords
    tokens: Tokens
    sessions: Sessions
    rotation: Rotation
    revocations: Revocations
    throttle: Throttle
    clock: Callable[[], float]

    async def signup(self, raw_username: str, password: str, *, ip: str | None = None) -> None:
        """Registers a user. Raises InvalidUsername, InvalidPassword, UsernameTaken, TooManyAttempts."""
        username = usernames.parse(raw_username)
        async with self.throttle.signup(ip):
            password_hash = await self.passwords.hash(password)
            user = User(str(uuid7()), username.text, password_hash)
            await users.insert(self.database, user, username.key, self._now())
        log.info("user_registered", extra={"username": username.text})

    async def login(
        self, raw_username: str, password: str, *, user_agent: str | None = None, ip: str | None = None
    ) -> TokenPair:
        """Opens a session, which shows its user where it came from.

        Raises InvalidCredentials, after the same work whether or not the user exists, and TooManyAttempts before any.
        """
        self.passwords.require_room()
        key = usernames.key_of(raw_username)
        async with self.throttle.guess(key, ip):
            session = await self._open_session(key, password, user_agent=user_agent, ip=ip)
            if session is None:
                log.info("login_failed", extra={"username": raw_username[: usernames.MAX_LENGTH]})
                raise InvalidCredentials
        log.info("login_succeeded", extra={"username": session.username, "session": session.id})
        return self._issue(session)

    def verify(self, access_token: str) -> AccessClaims:
        """Says whose access token this is, from memory alone. Raises InvalidToken, StaleRevocations."""
        now = self.clock()
        claims = self.tokens.verify_access(access_token, now)
        if now >= claims.iat + self.revocations.lifetime:  # of a longer JWT_EXPIRY: its end may be forgotten by now
            raise InvalidToken
        self.revocations.require_live(claims.sid)
        return claims

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Trades a refresh token for a new pair, and detects one that was used after its successor (RFC 9700 §4.14.2).

        The successor of a generation is always the same token, so a lost answer, a second tab or a client that goes on
        using the first token does no harm. Raises InvalidToken, SessionRevoked.
        """
        claims = self.tokens.verify_refresh(refresh_token, self.clock())
        session = await self.rotation.advance(Step(claims.sid, claims.sub, claims.gen))
        # It has ended, or the database is older than the token: restored from a backup.
        if session is None or session.generation < claims.gen:
            raise SessionRevoked
        if session.generation == claims.gen:  # it was moved on; this was read elsewhere, where that is not known yet
            raise DatabaseUnavailable
        if self.revocations.has_ended(session.id):  # a server that took over has lost that
            await self.sessions.end(session.user_id, [session.id])
            raise SessionRevoked
        if session.generation > claims.gen + 1:
            await self.sessions.end(session.user_id, [session.id])
            log.warning("refresh_token_reused", extra={"username": session.username, "session": session.id})
            raise SessionRevoked
        return self._issue(session)

    async def logout(self, refresh_token: str) -> None:
        """Ends the session of a refresh token of any generation; either may have ended already. Raises InvalidToken."""
        claims = self.tokens.recognise_refresh(refresh_token)
        if await self.sessions.end(claims.sub, [claims.sid]):
            log.info("logged_out", extra={"username": claims.username, "session": claims.sid})

    async def _open_session(
        self, key: str | None, password: str, *, user_agent: str | None, ip: str | None
    ) -> Session | None:
        """A session of the user with this key and password; None where there is no such user."""
        for _ in range(2):  # once more where the stored hash was changed, or renewed, while this one was compared
            user = await users.find_by_key(self.database, key) if key is not None else None
            matches, new_hash = await self.passwords.verify(password, user.password_hash if user else None)
            if user is None or not matches:
                break
            if new_hash and await users.replace_password_hash(self.database, user, new_hash):
                user = replace(user, password_hash=new_hash)
            if session := await self.sessions.open(user, user_agent=user_agent, ip=ip):
                return session
        return None

    def _issue(self, session: Session) -> TokenPair:
        return TokenPair(
            self.tokens.issue_access(
                user_id=session.user_id, username=session.username, session_id=session.id, now=self._now()
            ),
            self.tokens.issue_refresh(
                user_id=session.user_id,
                username=session.username,
                session_id=session.id,
                generation=session.generation,
                issued_at=session.rotated_at,
                expires_at=session.expires_at,
            ),
        )

    def _now(self) -> int:
        return int(self.clock())
