"""Reading requests and rendering answers; the names on the wire live only here."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidInput, InvalidToken, MissingToken

MAX_BODY = 16 * 1024  # bytes
BODY_TIMEOUT = 5  # seconds

Text = Annotated[str, msgspec.Meta(min_length=1)]


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object; unknown members are ignored."""


class Credentials(Wire, frozen=True, kw_only=True):
    username: Text
    password: Text


class RefreshToken(Wire, frozen=True, kw_only=True):
    refresh_token: Text


class PasswordChange(Wire, frozen=True, kw_only=True):
    current_password: Text
    new_password: Text


class Password(Wire, frozen=True, kw_only=True):
    password: Text


class Spared(Wire, frozen=True, kw_only=True):
    keep_current: bool = False


class TokenPair(Wire, frozen=True, kw_only=True):
    token: str
    refresh_token: str


class Done(Wire, frozen=True, kw_only=True):
    success: bool = True
    message: str


class SessionsEnded(Done, frozen=True, kw_only=True):
    tokens_deleted: int


class Session(Wire, frozen=True, kw_only=True):
    id: str
    created_at: datetime
    last_used_at: datetime
    user_agent: str | None
    ip: str | None
    current: bool


class Sessions(Wire, frozen=True, kw_only=True):
    sessions: list[Session]


class VerifiedUser(Wire, frozen=True, kw_only=True):
    username: str


class Verified(Wire, frozen=True, kw_only=True):
    valid: bool = True
    user: VerifiedUser


W = TypeVar("W", bound=Wire)


class MalformedBody(InvalidInput):
    code = "malformed_body"
    sentence = "The body must be one JSON object in UTF-8."


class MissingField(InvalidInput):
    code = "missing_field"
    sentence = "A field is missing, empty or not text."


async def read(request: Request[Any], kind: type[W], absent: W | None = None) -> W:
    """The body as a `kind`, or `absent`, where one is given and there is no body.

    Raises MalformedBody, MissingField, HTTPException (408, 413, 415).
    """
    media_types = request.headers.getlist("content-type")
    is_json = len(media_types) == 1 and media_types[0].partition(";")[0].strip().lower() == "application/json"
    if not is_json and absent is None:
        raise HTTPException(415)
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            body = await _body(request)
    except TimeoutError:
        raise HTTPException(408) from None
    if absent is not None and not body:
        return absent
    if not is_json:
        raise HTTPException(415)
    try:
        return msgspec.json.decode(body.decode("utf-8"), type=kind)
    except msgspec.ValidationError:
        raise MissingField(_wanted(kind)) from None
    except (ValueError, RecursionError):
        raise MalformedBody from None


def _wanted(kind: type[Wire]) -> str:
    fields = msgspec.structs.fields(kind)
    names = " and ".join(field.encode_name for field in fields)
    form = "text that is not empty" if all(field.required for field in fields) else "true or false, or not at all"
    return f"The body must hold {names} as {form}."


async def _body(request: Request[Any]) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413)
    return bytes(body)


def bearer_token(request: Request[Any]) -> str:
    """The token of the one Authorization header (RFC 6750 §2.1). Raises MissingToken, InvalidToken."""
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise InvalidToken
    scheme, _, token = "".join(headers).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingToken
    return token.lstrip(" ")


def time_of(seconds_since_1970: int) -> datetime:
    """Rendered as RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds_since_1970, UTC)


encode = msgspec.json.Encoder().encode


def render(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode(answer), status, headers, "application/json")
