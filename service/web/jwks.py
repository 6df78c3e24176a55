"""The public keys, for those who verify without asking us (RFC 7517)."""

from starlette.requests import Request
from starlette.responses import Response

from service.web.examples import KEY_SET
from service.web.operation import Operation
from service.web.state import State


def jwks_route(max_age: int) -> Operation:
    """`GET /.well-known/jwks.json`, which may be kept for `max_age` seconds.

    As application/json: of the type of RFC 7517 §8.5.2, which says more, some clients want to know nothing.
    """
    headers = {"Cache-Control": f"public, max-age={max_age}"}

    async def jwks(request: Request[State]) -> Response:
        """The public keys, as a JWK Set (RFC 7517)."""
        return Response(request.state["auth"].tokens.ring.jwks, headers=headers, media_type="application/json")

    return Operation("GET", "/.well-known/jwks.json", jwks, gives=KEY_SET)
