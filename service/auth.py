"""Sign up, log in, verify, refresh, log out: what each means, without HTTP and without SQL."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from uuid_utils.compat import uuid7

from service import usernames
from service.database import Database
from service.errors import InvalidCredentials, InvalidUsername, SessionRevoked
from service.passwords import Passwords
from service.queries import refresh_tokens, users
from service.queries.refresh_tokens import Session
from service.queries.users import User
from service.rotation import Rotation, Step
from service.tokens import AccessClaims, Tokens

PURGE_BATCH = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a client holds after a login or a refresh."""

    access: str
    refresh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """The use cases. Lifetimes are seconds; `clock` gives seconds since 1970.

    Whatever needs the database raises Unavailable when it can't be had, and so does a full queue for hashing.
    """

    database: Database
    passwords: Passwords
    tokens: Tokens
    rotation: Rotation
    refresh_lifetime: int
    session_max_age: int
    clock: Callable[[], float]

    async def signup(self, raw_username: str, password: str) -> None:
        """Registers a user. Raises InvalidUsername, InvalidPassword, UsernameTaken."""
        username = usernames.parse(raw_username)
        password_hash = await self.passwords.hash(password)
        user = User(str(uuid7()), username.text, password_hash)
        await users.insert(self.database, user, username.key, self._now())
        log.info("user_registered", extra={"username": username.text})

    async def login(self, raw_username: str, password: str) -> TokenPair:
        """Opens a session. Raises InvalidCredentials, after the same work whether or not the user exists."""
        self.passwords.require_room()
        user = await self._find_user(raw_username)
        matches, new_hash = await self.passwords.verify(password, user.password_hash if user else None)
        if user is None or not matches:
            raise _failed_login(raw_username)
        if new_hash:
            await users.replace_password_hash(self.database, user, new_hash)
        now = self._now()
        session = Session(
            id=str(uuid7()),
            user_id=user.id,
            username=user.username,
            generation=0,
            rotated_at=now,
            expires_at=now + min(self.refresh_lifetime, self.session_max_age),
        )
        if not await refresh_tokens.insert(self.database, session):
            raise _failed_login(raw_username)  # the account was deleted while its password was being compared
        log.info("login_succeeded", extra={"username": user.username, "session": session.id})
        return self._issue(session)

    def verify(self, access_token: str) -> AccessClaims:
        """Says whose access token this is, from the token alone. Raises InvalidToken."""
        return self.tokens.verify_access(access_token, self.clock())

    async def refresh(self, refresh_token: str) -> TokenPair:
        """Trades a refresh token for a new pair, and detects one that was used after its successor (RFC 9700 §4.14.2).

        The successor of a generation is always the same token, so a lost answer, a second tab or a client that goes on
        using the first token does no harm. Raises InvalidToken, SessionRevoked.
        """
        claims = self.tokens.verify_refresh(refresh_token, self.clock())
        session = await self.rotation.advance(Step(claims.sid, claims.sub, claims.gen))
        if session is None:
            raise SessionRevoked
        if session.generation > claims.gen + 1:
            await refresh_tokens.delete(self.database, session.id, session.user_id)
            log.warning("refresh_token_reused", extra={"username": session.username, "session": session.id})
            raise SessionRevoked
        if session.generation <= claims.gen:  # the database is older than the token: it was restored from a backup
            raise SessionRevoked
        return self._issue(session)

    async def logout(self, refresh_token: str) -> None:
        """Ends the session of a refresh token of any generation; either may have ended already. Raises InvalidToken."""
        claims = self.tokens.recognise_refresh(refresh_token)
        await refresh_tokens.delete(self.database, claims.sid, claims.sub)

    async def purge(self) -> int:
        """Deletes one batch of expired sessions; returns how many, PURGE_BATCH when there may be more."""
        return await refresh_tokens.delete_expired(self.database, self._now(), PURGE_BATCH)

    async def _find_user(self, raw_username: str) -> User | None:
        try:
            key = usernames.parse(raw_username).key
        except InvalidUsername:
            return None
        return await users.find_by_key(self.database, key)

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


def _failed_login(raw_username: str) -> InvalidCredentials:
    log.info("login_failed", extra={"username": raw_username[: usernames.MAX_LENGTH]})
    return InvalidCredentials()
