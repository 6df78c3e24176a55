"""What load balancers and supervisors ask: does the process live, and should it be sent requests?"""

from typing import Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from service.errors import Unavailable
from service.web.errors import refuse
from service.web.operation import Operation
from service.web.payload import render
from service.web.state import State
from service.web.wire import Refusal, Wire


class Liveness(Wire, frozen=True, kw_only=True):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Checks(Wire, frozen=True, kw_only=True):
    """What readiness depends on."""

    database: Literal["ok", "unavailable"] = "ok"
    schema: Literal["ok", "outdated", "unknown"] = "ok"
    revocations: Literal["ok", "stale"] = "ok"
    shutdown: Literal["ok", "stopping"] = "ok"


class Readiness(Wire, frozen=True, kw_only=True):
    """The process can serve; its knowledge of ended sessions is so old, or null where it has or wants none."""

    ready: Literal[True] = True
    checks: Checks = Checks()
    revocation_age_seconds: float | None


class Unreadiness(Refusal, frozen=True, kw_only=True):
    """Send requests elsewhere."""

    ready: Literal[False] = False
    checks: Checks = Checks(shutdown="stopping")
    revocation_age_seconds: float | None = None


async def livez(request: Request[State]) -> Response:
    """Say that the process lives."""
    return render(Liveness())


async def readyz(request: Request[State]) -> Response:
    """Say whether the process should be sent requests."""
    found = await request.state["health"].check()
    checks = msgspec.convert(found.checks, Checks)
    age = None if found.revocation_age is None else round(found.revocation_age, 2)
    if found.is_ready:
        return render(Readiness(checks=checks, revocation_age_seconds=age))
    return refuse(Unavailable(), Unreadiness, checks=checks, revocation_age_seconds=age)


HEALTH_ROUTES = [
    Operation("GET", "/livez", livez, gives=Liveness()),
    Operation("GET", "/readyz", readyz, gives=Readiness(revocation_age_seconds=0.31), shapes={503: Unreadiness}),
]
