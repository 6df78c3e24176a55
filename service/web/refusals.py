"""Every way in which an operation may be refused: by its use case, its body, its security, the service itself."""

from typing import NamedTuple

from service.errors import (
    AuthError,
    InvalidClient,
    InvalidToken,
    MissingToken,
    SessionRevoked,
    StaleRevocations,
    Unavailable,
)
from service.web.errors import HTTP_ERRORS, status_of
from service.web.operation import Operation
from service.web.payload import MalformedBody, MissingField

_BY_SECURITY: dict[str | None, tuple[type[AuthError], ...]] = {
    "bearer": (MissingToken, InvalidToken, SessionRevoked, StaleRevocations),
    "basic": (InvalidClient,),
    None: (),
}


class Reason(NamedTuple):
    """A refusal as it is answered."""

    status: int
    code: str
    sentence: str


def reasons_of(operation: Operation) -> list[Reason]:
    """What may be answered to a request of this path and method, by status and code."""
    kinds: list[type[AuthError]] = [*operation.refuses, *_BY_SECURITY[operation.security], Unavailable]
    statuses = [500]
    if operation.takes is not None:
        kinds += [MalformedBody, MissingField]
        statuses += [408, 413, 415]
    if operation.param_convertors:
        statuses += [404]
    own = {Reason(status_of(kind), kind.code, kind.sentence) for kind in kinds}
    return sorted(own | {Reason(status, *HTTP_ERRORS[status]) for status in statuses})
