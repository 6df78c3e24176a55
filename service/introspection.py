"""What a token is worth, for those who ask about other people's (RFC 7662), and its end (RFC 7009)."""

import logging
from dataclasses import dataclass

from service.auth import Auth
from service.errors import InvalidToken
from service.queries import refresh_tokens
from service.tokens import AccessClaims, RefreshClaims

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Introspection:
    """The use cases of a token that is presented by whoever holds it; either of the two kinds will do."""

    auth: Auth

    async def introspect(self, token: str) -> AccessClaims | RefreshClaims | None:
        """The claims of a token that verify or refresh would accept now; None for any other.

        A refresh token whose reuse would end its session is no longer active, and is not used by this.
        Raises StaleRevocations for access tokens, Unavailable for refresh tokens.
        """
        try:
            return self.auth.verify(token)
        except InvalidToken:
            pass
        try:
            claims = self.auth.tokens.verify_refresh(token, self.auth.clock())
        except InvalidToken:
            return None
        return claims if await self._is_live(claims) else None

    async def revoke(self, token: str) -> None:
        """Ends the session of a refresh token of any generation, or of an access token that has not expired.

        A token that means nothing to us is no error (RFC 7009 §2.2). Raises Unavailable.
        """
        tokens = self.auth.tokens
        claims: AccessClaims | RefreshClaims
        try:
            claims = tokens.recognise_refresh(token)
        except InvalidToken:
            try:
                claims = tokens.verify_access(token, self.auth.clock())
            except InvalidToken:
                return
        if await self.auth.sessions.end(claims.sub, [claims.sid]):
            log.info("session_revoked", extra={"username": claims.username, "session": claims.sid})

    async def _is_live(self, claims: RefreshClaims) -> bool:
        """Whether the session is where a refresh would give the token its successor."""
        now = int(self.auth.clock())
        return any(
            session.user_id == claims.sub
            and session.expires_at > now
            and claims.gen <= session.generation <= claims.gen + 1
            for session in await refresh_tokens.find(self.auth.database, [claims.sid])
        )
