"""The public keys, for those who verify without asking us (RFC 7517)."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.web.routes import State


def jwks_route(max_age: int) -> Route:
    """`GET /.well-known/jwks.json`, which may be kept for `max_age` seconds.

    As application/json: of the type of RFC 7517 §8.5.2, which says more, some clients want to know nothing.
    """
    headers = {"Cache-Control": f"public, max-age={max_age}"}

    async def jwks(request: Request[State]) -> Response:
        return Response(request.state["auth"].tokens.ring.jwks, headers=headers, media_type="application/json")

    return Route("/.well-known/jwks.json", jwks, methods=["GET"])
