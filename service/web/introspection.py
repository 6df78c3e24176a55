"""The endpoint for those who ask about other people's tokens (RFC 7662)."""

import hmac
from base64 import b64decode
from urllib.parse import unquote_to_bytes

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from service import introspection
from service.errors import InvalidClient, StaleRevocations
from service.tokens import AccessClaims, RefreshClaims
from service.web.examples import INTROSPECTED, PRESENTED_TOKEN
from service.web.operation import STORED, Operation
from service.web.payload import read_form, render
from service.web.state import State
from service.web.wire import Introspected, PresentedToken


def introspection_routes(secret: bytes | None) -> list[Operation]:
    """`POST /auth/introspect`, for clients that authenticate with HTTP Basic: any name, and the secret."""
    if secret is None:
        return []

    async def introspect(request: Request[State]) -> Response:
        """Say whether a token is active, and what it says."""
        if not hmac.compare_digest(_client_secret(request), secret):
            raise InvalidClient
        body = await read_form(request, PresentedToken)
        claims = await introspection.introspect(request.state["auth"], body.token)
        return render(_introspected(claims) if claims else Introspected(active=False))

    route = Operation(
        "POST",
        "/auth/introspect",
        introspect,
        takes=PRESENTED_TOKEN,
        gives=INTROSPECTED,
        security="basic",
        refuses=(StaleRevocations, *STORED),
    )
    return [route]


def _client_secret(request: Request[State]) -> bytes:
    """The password of the one Authorization header (RFC 7617, RFC 6749 §2.3.1). Raises InvalidClient."""
    headers = request.headers.getlist("authorization")
    scheme, _, credentials = "".join(headers).partition(" ")
    if len(headers) != 1 or scheme.lower() != "basic":
        raise InvalidClient
    try:
        _, colon, password = b64decode(credentials.strip(" "), validate=True).partition(b":")
    except ValueError:
        raise InvalidClient from None
    # Some clients encode it as in a form, as RFC 6749 demands; the secret has no character for which that matters.
    return unquote_to_bytes(password) if colon else b""


def _introspected(claims: AccessClaims | RefreshClaims) -> Introspected:
    is_access = isinstance(claims, AccessClaims)
    return Introspected(
        active=True,
        token_use="access_token" if is_access else "refresh_token",
        token_type="Bearer" if is_access else UNSET,  # RFC 6749 §5.1; a refresh token has none
        sub=claims.sub,
        username=claims.username,
        sid=claims.sid,
        iat=claims.iat,
        exp=claims.exp,
        iss=claims.iss or UNSET,
        aud=claims.aud or UNSET,
    )
