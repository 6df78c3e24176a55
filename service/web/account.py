"""The endpoints of a user who is logged in: parse, call, render."""

from datetime import UTC, datetime

from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidCredentials, InvalidPassword, SessionNotFound, TooManyAttempts
from service.tokens import AccessClaims
from service.web import examples
from service.web.operation import STORED, Operation
from service.web.payload import bearer_token, client_address, read, render
from service.web.state import State
from service.web.wire import Done, Password, PasswordChange, Session, Sessions, SessionsEnded, Spared

SESSION_ENDED = Done(message="Session ended")
PASSWORD_CHANGED = Done(message="Password changed")
ACCOUNT_DELETED = Done(message="Account deleted")


async def list_sessions(request: Request[State]) -> Response:
    """List the user's live sessions."""
    claims = _authorise(request)
    found = await request.state["account"].list_sessions(claims)
    sessions = [
        Session(
            id=session.id,
            created_at=_time(session.created_at),
            last_used_at=_time(session.last_used_at),
            user_agent=session.user_agent,
            ip=session.ip,
            current=session.id == claims.sid,
        )
        for session in found
    ]
    return render(Sessions(sessions=sessions))


async def end_session(request: Request[State]) -> Response:
    """End one of the user's sessions."""
    claims = _authorise(request)
    await request.state["account"].end_session(claims, request.path_params["id"])
    return render(SESSION_ENDED)


async def end_sessions(request: Request[State]) -> Response:
    """End all of the user's sessions, or all others."""
    claims = _authorise(request)
    body = await read(request, Spared, absent=Spared())
    count = await request.state["account"].end_sessions(claims, keep_current=body.keep_current)
    return render(SessionsEnded(tokens_deleted=count, message="Logged out everywhere"))


async def change_password(request: Request[State]) -> Response:
    """Change the password, which ends every other session."""
    claims = _authorise(request)
    body = await read(request, PasswordChange)
    await request.state["account"].change_password(
        claims, body.current_password, body.new_password, ip=client_address(request)
    )
    return render(PASSWORD_CHANGED)


async def delete_account(request: Request[State]) -> Response:
    """Delete the user and all sessions; the name is free again."""
    claims = _authorise(request)
    body = await read(request, Password)
    await request.state["account"].delete(claims, body.password, ip=client_address(request))
    return render(ACCOUNT_DELETED)


def _authorise(request: Request[State]) -> AccessClaims:
    return request.state["auth"].verify(bearer_token(request))


def _time(seconds_since_1970: int) -> datetime:
    return datetime.fromtimestamp(seconds_since_1970, UTC)  # which msgspec renders as RFC 3339


ACCOUNT_ROUTES = [
    Operation("GET", "/auth/sessions", list_sessions, gives=examples.SESSIONS, security="bearer", refuses=STORED),
    Operation(
        "DELETE",
        "/auth/sessions/{id}",
        end_session,
        gives=SESSION_ENDED,
        security="bearer",
        refuses=(SessionNotFound, *STORED),
    ),
    Operation(
        "POST",
        "/auth/logoutall",
        end_sessions,
        takes=examples.SPARED,
        gives=examples.SESSIONS_ENDED,
        security="bearer",
        refuses=STORED,
    ),
    Operation(
        "PUT",
        "/auth/password",
        change_password,
        takes=examples.PASSWORD_CHANGE,
        gives=PASSWORD_CHANGED,
        security="bearer",
        refuses=(InvalidPassword, InvalidCredentials, TooManyAttempts, *STORED),
    ),
    Operation(
        "DELETE",
        "/auth/account",
        delete_account,
        takes=examples.PASSWORD,
        gives=ACCOUNT_DELETED,
        security="bearer",
        refuses=(InvalidCredentials, TooManyAttempts, *STORED),
    ),
]
