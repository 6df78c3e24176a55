"""The OpenAPI 3.1 document, made from what parses, answers and refuses: the operations, the structs, the errors."""

import inspect
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.release import version
from service.web.operation import Operation
from service.web.payload import encode
from service.web.refusals import Reason, reasons_of
from service.web.wire import Form, Refusal

MAX_AGE = 300  # seconds; it changes with a release only
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

_TEXT = {"type": "string"}
# Those of every answer, and those of some statuses.
_HEADERS = {
    "X-Request-ID": {"description": "The one of the request, if it is well-formed, else a new one.", "schema": _TEXT},
    "Cache-Control": {"description": "Whether the answer may be kept: mostly `no-store`.", "schema": _TEXT},
    "X-Content-Type-Options": {"description": "`nosniff`.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "How to authenticate (RFC 6750 §3, RFC 7617).", "schema": _TEXT},
    "Retry-After": {"description": "When it is worth it, in seconds.", "schema": {"type": "integer", "minimum": 0}},
}
_ON_ALL = ("X-Request-ID", "Cache-Control", "X-Content-Type-Options")
_ON_STATUS = {401: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}


def openapi_route(others: Sequence[Operation]) -> Operation:
    """`GET /openapi.json`, which describes the others, and itself."""
    headers = {"Cache-Control": f"public, max-age={MAX_AGE}"}

    async def openapi(request: Request[Any]) -> Response:
        """The description of all endpoints: OpenAPI 3.1."""
        return Response(document, headers=headers, media_type=JSON)

    example = {"openapi": "3.1.0", "info": {"title": "mstack-auth", "version": version()}, "paths": {}}
    route = Operation("GET", "/openapi.json", openapi, gives=example)
    document = encode(describe([*others, route]))
    return route


def describe(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document."""
    kinds = {type(each) for operation in operations for each in (operation.takes, operation.gives) if each is not None}
    kinds |= {shape for operation in operations for shape in operation.shapes.values()} | {Refusal}
    ordered = sorted(kinds, key=lambda kind: kind.__name__)
    found, schemas = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(ordered, found, strict=True))
    for name in schemas.keys() - {type(operation.takes).__name__ for operation in operations}:
        members = schemas[name]["properties"]  # an answer has also those that have a default
        schemas[name]["required"] = [
            each for each in members if "default" in members[each] or each in schemas[name]["required"]
        ]
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for operation in operations:
        paths[operation.path_format][operation.method.lower()] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mstack-auth",
            "version": version(),
            "description": "Sign up, log in, verify, refresh and log out with JWTs. A refusal has a sentence for people"
            " and a code for programs. Bodies have 16 KiB at most; unknown members are ignored.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "headers": {name: {"required": True, **header} for name, header in _HEADERS.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "basic": {"type": "http", "scheme": "basic", "description": "Any name, and the INTROSPECTION_SECRET."},
            },
        },
    }


def _operation(operation: Operation, schema_of: dict[type, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": inspect.getdoc(operation.endpoint),
        "responses": {"200": _success(operation, schema_of), **_refusals(operation, schema_of)},
    }
    if operation.security:
        described["security"] = [{operation.security: []}]
    if operation.param_convertors:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in operation.param_convertors
        ]
    if operation.takes is not None:
        kind = type(operation.takes)
        media_type = FORM if isinstance(operation.takes, Form) else JSON
        described["requestBody"] = {
            "required": any(field.required for field in msgspec.structs.fields(kind)),
            "content": {media_type: {"schema": schema_of[kind], "example": operation.takes}},
        }
    return described


def _success(operation: Operation, schema_of: dict[type, Any]) -> dict[str, Any]:
    meant = type(operation.gives) if isinstance(operation.gives, msgspec.Struct) else operation.endpoint
    own = {name: {"description": meaning, "schema": _TEXT} for name, meaning in operation.headers.items()}
    return {
        "description": inspect.getdoc(meant),
        "headers": {**_headers(200), **own},
        "content": {JSON: {"schema": schema_of[type(operation.gives)], "example": operation.gives}},
    }


def _refusals(operation: Operation, schema_of: dict[type, Any]) -> dict[str, Any]:
    grouped: dict[int, list[Reason]] = defaultdict(list)
    for reason in reasons_of(operation):
        grouped[reason.status].append(reason)
    return {str(status): _refusal(operation, each, schema_of) for status, each in grouped.items()}


def _refusal(operation: Operation, found: list[Reason], schema_of: dict[type, Any]) -> dict[str, Any]:
    status = found[0].status
    shape = operation.shapes.get(status, Refusal)
    codes = {"properties": {"code": {"enum": [reason.code for reason in found]}}}
    examples = {reason.code: {"value": shape(error=reason.sentence, code=reason.code)} for reason in found}
    return {
        "description": " ".join(reason.sentence for reason in found),
        "headers": _headers(status),
        "content": {JSON: {"schema": {**schema_of[shape], **codes}, "examples": examples}},
    }


def _headers(status: int) -> dict[str, Any]:
    names = (*_ON_ALL, *_ON_STATUS.get(status, ()))
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
