"""What load balancers and supervisors ask: does the process live, and should it be sent requests?"""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.errors import Unavailable
from service.web.errors import refuse
from service.web.payload import Wire, render
from service.web.routes import State


class Liveness(Wire, frozen=True, kw_only=True):
    status: str = "ok"


class Readiness(Wire, frozen=True, kw_only=True):
    ready: bool
    checks: dict[str, str]
    revocation_age_seconds: float | None


async def livez(request: Request[State]) -> Response:
    return render(Liveness())


async def readyz(request: Request[State]) -> Response:
    found = await request.state["health"].check()
    age = found.revocation_age
    answer = Readiness(
        ready=found.is_ready, checks=found.checks, revocation_age_seconds=None if age is None else round(age, 2)
    )
    return render(answer) if found.is_ready else refuse(Unavailable(), **msgspec.to_builtins(answer))


HEALTH_ROUTES = [Route("/livez", livez, methods=["GET"]), Route("/readyz", readyz, methods=["GET"])]
