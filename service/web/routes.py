"""The endpoints: parse, call, render."""

from typing import TypedDict

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import auth
from service.account import Account
from service.auth import Auth
from service.errors import InvalidToken
from service.health import Health
from service.tokens import AccessClaims
from service.web.address import address_of
from service.web.errors import refuse
from service.web.identity import identity_headers
from service.web.payload import (
    Credentials,
    Done,
    Password,
    PasswordChange,
    RefreshToken,
    Session,
    Sessions,
    SessionsEnded,
    Spared,
    TokenPair,
    Verified,
    VerifiedUser,
    bearer_token,
    read,
    render,
    time_of,
)


class State(TypedDict):
    """What the lifespan hands to each request."""

    auth: Auth
    account: Account
    health: Health


async def signup(request: Request[State]) -> Response:
    body = await read(request, Credentials)
    await request.state["auth"].signup(body.username, body.password, ip=address_of(request))
    return render(Done(message="User registered successfully"))


async def login(request: Request[State]) -> Response:
    body = await read(request, Credentials)
    pair = await request.state["auth"].login(
        body.username, body.password, user_agent=request.headers.get("user-agent"), ip=address_of(request)
    )
    return _render_pair(pair)


async def verify(request: Request[State]) -> Response:
    try:
        claims = request.state["auth"].verify(bearer_token(request))
    except InvalidToken as error:
        return refuse(error, valid=False)
    response = render(Verified(user=VerifiedUser(username=claims.username)))
    response.raw_headers.extend(identity_headers(claims))
    return response


async def refresh(request: Request[State]) -> Response:
    body = await read(request, RefreshToken)
    return _render_pair(await request.state["auth"].refresh(body.refresh_token))


async def logout(request: Request[State]) -> Response:
    body = await read(request, RefreshToken)
    await request.state["auth"].logout(body.refresh_token)
    return render(Done(message="Logged out"))


async def list_sessions(request: Request[State]) -> Response:
    claims = _authorise(request)
    found = await request.state["account"].list_sessions(claims)
    sessions = [
        Session(
            id=session.id,
            created_at=time_of(session.created_at),
            last_used_at=time_of(session.last_used_at),
            user_agent=session.user_agent,
            ip=session.ip,
            current=session.id == claims.sid,
        )
        for session in found
    ]
    return render(Sessions(sessions=sessions))


async def end_session(request: Request[State]) -> Response:
    claims = _authorise(request)
    await request.state["account"].end_session(claims, request.path_params["id"])
    return render(Done(message="Session ended"))


async def end_sessions(request: Request[State]) -> Response:
    claims = _authorise(request)
    body = await read(request, Spared, absent=Spared())
    count = await request.state["account"].end_sessions(claims, keep_current=body.keep_current)
    return render(SessionsEnded(tokens_deleted=count, message="Logged out everywhere"))


async def change_password(request: Request[State]) -> Response:
    claims = _authorise(request)
    body = await read(request, PasswordChange)
    await request.state["account"].change_password(claims, body.current_password, body.new_password)
    return render(Done(message="Password changed"))


async def delete_account(request: Request[State]) -> Response:
    claims = _authorise(request)
    body = await read(request, Password)
    await request.state["account"].delete(claims, body.password)
    return render(Done(message="Account deleted"))


def _authorise(request: Request[State]) -> AccessClaims:
    return request.state["auth"].verify(bearer_token(request))


def _render_pair(pair: auth.TokenPair) -> Response:
    return render(TokenPair(token=pair.access, refresh_token=pair.refresh))


ROUTES = [
    Route("/auth/signup", signup, methods=["POST"]),
    Route("/auth/login", login, methods=["POST"]),
    Route("/auth/verify", verify, methods=["GET"]),
    Route("/auth/refresh", refresh, methods=["POST"]),
    Route("/auth/logout", logout, methods=["POST"]),
    Route("/auth/sessions", list_sessions, methods=["GET"]),
    Route("/auth/sessions/{id}", end_session, methods=["DELETE"]),
    Route("/auth/logoutall", end_sessions, methods=["POST"]),
    Route("/auth/password", change_password, methods=["PUT"]),
    Route("/auth/account", delete_account, methods=["DELETE"]),
]
