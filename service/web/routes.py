"""The endpoints: parse, call, render. The table of all of them is at the end."""

from starlette.requests import Request
from starlette.responses import Response

from service import auth, introspection
from service.errors import (
    InvalidCredentials,
    InvalidPassword,
    InvalidToken,
    InvalidUsername,
    SessionRevoked,
    TooManyAttempts,
    UsernameTaken,
)
from service.web import examples
from service.web.account import ACCOUNT_ROUTES
from service.web.errors import refuse
from service.web.identity import IDENTITY, identity_headers
from service.web.operation import STORED, Operation
from service.web.payload import bearer_token, client_address, read, read_form, render
from service.web.state import State
from service.web.wire import (
    Credentials,
    Done,
    NewUser,
    PresentedToken,
    RefreshToken,
    TokenPair,
    Verified,
    VerifiedUser,
    VerifyRefusal,
)

SIGNED_UP = Done(message="User registered successfully")
LOGGED_OUT = Done(message="Logged out")
REVOKED = Done(message="The token is no longer valid")


async def signup(request: Request[State]) -> Response:
    """Sign up."""
    body = await read(request, NewUser)
    await request.state["auth"].signup(body.username, body.password, ip=client_address(request))
    return render(SIGNED_UP)


async def login(request: Request[State]) -> Response:
    """Log in, which opens a session."""
    body = await read(request, Credentials)
    pair = await request.state["auth"].login(
        body.username, body.password, user_agent=request.headers.get("user-agent"), ip=client_address(request)
    )
    return _render_pair(pair)


async def verify(request: Request[State]) -> Response:
    """Say whose access token this is."""
    try:
        claims = request.state["auth"].verify(bearer_token(request))
    except InvalidToken as error:
        return refuse(error, VerifyRefusal)
    response = render(Verified(user=VerifiedUser(username=claims.username)))
    response.raw_headers.extend(identity_headers(claims))
    return response


async def refresh(request: Request[State]) -> Response:
    """Trade a refresh token for a new pair."""
    body = await read(request, RefreshToken)
    return _render_pair(await request.state["auth"].refresh(body.refresh_token))


async def logout(request: Request[State]) -> Response:
    """End the session of a refresh token of any generation."""
    body = await read(request, RefreshToken)
    await request.state["auth"].logout(body.refresh_token)
    return render(LOGGED_OUT)


async def revoke(request: Request[State]) -> Response:
    """End the session of a token of either kind; one that means nothing to us is no error (RFC 7009)."""
    body = await read_form(request, PresentedToken)
    await introspection.revoke(request.state["auth"], body.token)
    return render(REVOKED)


def _render_pair(pair: auth.TokenPair) -> Response:
    return render(TokenPair(token=pair.access, refresh_token=pair.refresh))


ROUTES = [
    Operation(
        "POST",
        "/auth/signup",
        signup,
        takes=examples.NEW_USER,
        gives=SIGNED_UP,
        refuses=(InvalidUsername, InvalidPassword, UsernameTaken, TooManyAttempts, *STORED),
    ),
    Operation(
        "POST",
        "/auth/login",
        login,
        takes=examples.CREDENTIALS,
        gives=examples.TOKEN_PAIR,
        refuses=(InvalidCredentials, TooManyAttempts, *STORED),
    ),
    Operation(
        "GET",
        "/auth/verify",
        verify,
        gives=examples.VERIFIED,
        security="bearer",
        shapes={401: VerifyRefusal},
        headers=IDENTITY,
    ),
    Operation(
        "POST",
        "/auth/refresh",
        refresh,
        takes=examples.REFRESH_TOKEN,
        gives=examples.TOKEN_PAIR,
        refuses=(InvalidToken, SessionRevoked, *STORED),
    ),
    Operation(
        "POST", "/auth/logout", logout, takes=examples.REFRESH_TOKEN, gives=LOGGED_OUT, refuses=(InvalidToken, *STORED)
    ),
    Operation("POST", "/auth/revoke", revoke, takes=examples.PRESENTED_TOKEN, gives=REVOKED, refuses=STORED),
    *ACCOUNT_ROUTES,
]
