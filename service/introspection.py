"""What a token is worth, for those who ask about other people's (RFC 7662), and its end (RFC 7009).

Whoever holds a token may present it, and either of the two kinds will do.
"""

import logging

from service.auth import Auth
from service.errors import InvalidToken
from service.rotation import Step
from service.tokens import AccessClaims, RefreshClaims

log = logging.getLogger(__name__)


async def introspect(auth: Auth, token: str) -> AccessClaims | RefreshClaims | None:
    """The claims of a token that verify or refresh would accept now; None for any other.

    A refresh token whose reuse would end its session is no longer active, and is not used by this.
    Raises StaleRevocations for access tokens, Unavailable for refresh tokens.
    """
    try:
        return auth.verify(token)
    except InvalidToken:
        pass
    try:
        claims = auth.tokens.verify_refresh(token, auth.clock())
    except InvalidToken:
        return None
    session = await auth.rotation.find(Step(claims.sid, claims.sub, claims.gen))
    if session is None or auth.revocations.has_ended(session.id):
        return None
    # Where a refresh would give the token its successor.
    return claims if claims.gen <= session.generation <= claims.gen + 1 else None


async def revoke(auth: Auth, token: str) -> None:
    """Ends the session of a refresh token of any generation, or of an access token that has not expired.

    A token that means nothing to us is no error (RFC 7009 §2.2). Raises Unavailable.
    """
    claims: AccessClaims | RefreshClaims
    try:
        claims = auth.tokens.recognise_refresh(token)
    except InvalidToken:
        try:
            claims = auth.tokens.verify_access(token, auth.clock())
        except InvalidToken:
            return
    if await auth.sessions.end(claims.sub, [claims.sid]):
        log.info("session_revoked", extra={"username": claims.username, "session": claims.sid})
