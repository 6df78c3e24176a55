"""Reading requests and rendering answers."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from service.errors import InvalidInput, InvalidToken, MissingToken
from service.web.wire import Form, Wire

MAX_BODY = 16 * 1024  # bytes
BODY_TIMEOUT = 5  # seconds
_MALFORMED_FORM = "The body must be one form in UTF-8, with each field once."
_UNREAD = "The body of a request with an Upgrade header is not read; send it without that header."

W = TypeVar("W", bound=Wire)
F = TypeVar("F", bound=Form)


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
    is_json = _is_sent_as(request, "application/json")
    if not is_json and absent is None:
        raise HTTPException(415)
    body = await _body(request)
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


async def read_form(request: Request[Any], kind: type[F]) -> F:
    """The body, a form, as a `kind`, none of whose fields may come twice (RFC 6749 §3.2).

    Raises MalformedBody, MissingField, HTTPException (408, 413, 415).
    """
    if not _is_sent_as(request, "application/x-www-form-urlencoded"):
        raise HTTPException(415)
    body = await _body(request)
    known = {field.encode_name for field in msgspec.structs.fields(kind)}
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=bool(body), errors="strict")
        fields = dict(pair for pair in pairs if pair[0] in known)
        if len(fields) < sum(name in known for name, _ in pairs):
            raise MalformedBody(_MALFORMED_FORM)
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError:
        raise MissingField(_wanted(kind)) from None
    except ValueError:
        raise MalformedBody(_MALFORMED_FORM) from None


def _is_sent_as(request: Request[Any], media_type: str) -> bool:
    found = request.headers.getlist("content-type")
    return len(found) == 1 and found[0].partition(";")[0].strip().lower() == media_type


def _wanted(kind: type[Wire | Form]) -> str:
    fields = msgspec.structs.fields(kind)
    required = [field for field in fields if field.required]
    names = " and ".join(field.encode_name for field in required or fields)
    form = "text that is not empty" if required else "true or false, if at all"
    return f"The body must have {names} as {form}."


async def _body(request: Request[Any]) -> bytes:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY:
                    raise HTTPException(413)
    except TimeoutError:
        raise HTTPException(408) from None
    if not body and "upgrade" in request.headers and _is_announced(request.headers):  # uvicorn's parser took it away
        raise MalformedBody(_UNREAD)
    return bytes(body)


def _is_announced(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def bearer_token(request: Request[Any]) -> str:
    """The token of the one Authorization header (RFC 6750 §2.1). Raises MissingToken, InvalidToken."""
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise InvalidToken
    scheme, _, token = "".join(headers).partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise MissingToken
    return token.lstrip(" ")


def client_address(request: Request[Any]) -> str | None:
    """Whose the connection is, or who a trusted proxy says that it is from; None where that is not known."""
    return request.client.host if request.client else None


encode = msgspec.json.Encoder().encode


def render(answer: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(encode(answer), status, headers, "application/json")
