"""An endpoint that says what goes in and what comes out."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

from starlette.routing import Route

from service.errors import AuthError, DatabaseUnavailable, Overloaded
from service.web.wire import Form, Refusal, Wire

Security = Literal["bearer", "basic"]

STORED = (DatabaseUnavailable, Overloaded)  # what a use case that needs the database may be told


class Operation(Route):
    """A Starlette route, together with what the OpenAPI document can't find out.

    `takes` and `gives` are examples, of which the types are the schemas: a Wire or Form, or nothing, is taken; any JSON
    is given, with `headers` (name to meaning). `refuses` are the errors of the use case alone: those of bodies,
    security and the service itself follow, and `shapes` are the statuses whose answer says more than others. The
    handler's docstring is the description.
    """

    def __init__(
        self,
        method: str,
        path: str,
        handler: Callable[..., Any],
        *,
        takes: Wire | Form | None = None,
        gives: object,
        security: Security | None = None,
        refuses: tuple[type[AuthError], ...] = (),
        shapes: Mapping[int, type[Refusal]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(path, handler, methods=[method])
        # Starlette's own pattern also takes `/auth/login%0A` for `/auth/login`, past what a proxy does for that path.
        self.path_regex = re.compile(self.path_regex.pattern.removesuffix("$") + r"\Z")
        self.method = method
        self.takes = takes
        self.gives = gives
        self.security = security
        self.refuses = refuses
        self.shapes = shapes or {}
        self.headers = headers or {}
