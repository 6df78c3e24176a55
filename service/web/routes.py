"""The endpoints: parse, call, render."""

from typing import TypedDict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import auth
from service.auth import Auth
from service.errors import InvalidToken
from service.web.errors import refuse
from service.web.payload import (
    Credentials,
    Done,
    RefreshToken,
    TokenPair,
    Verified,
    VerifiedUser,
    bearer_token,
    read,
    render,
)


class State(TypedDict):
    """What the lifespan hands to each request."""

    auth: Auth


async def signup(request: Request[State]) -> Response:
    body = await read(request, Credentials)
    await request.state["auth"].signup(body.username, body.password)
    return render(Done(message="User registered successfully"))


async def login(request: Request[State]) -> Response:
    body = await read(request, Credentials)
    return _render_pair(await request.state["auth"].login(body.username, body.password))


async def verify(request: Request[State]) -> Response:
    try:
        claims = request.state["auth"].verify(bearer_token(request))
    except InvalidToken as error:
        return refuse(error, valid=False)
    return render(Verified(user=VerifiedUser(username=claims.username)))


async def refresh(request: Request[State]) -> Response:
    body = await read(request, RefreshToken)
    return _render_pair(await request.state["auth"].refresh(body.refresh_token))


async def logout(request: Request[State]) -> Response:
    body = await read(request, RefreshToken)
    await request.state["auth"].logout(body.refresh_token)
    return render(Done(message="Logged out"))


def _render_pair(pair: auth.TokenPair) -> Response:
    return render(TokenPair(token=pair.access, refresh_token=pair.refresh))


ROUTES = [
    Route("/auth/signup", signup, methods=["POST"]),
    Route("/auth/login", login, methods=["POST"]),
    Route("/auth/verify", verify, methods=["GET"]),
    Route("/auth/refresh", refresh, methods=["POST"]),
    Route("/auth/logout", logout, methods=["POST"]),
]
