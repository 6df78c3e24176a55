"""How long requests take, by the template of their route: as many series as there are routes, whatever is asked."""

from collections.abc import Callable, Sequence

from starlette.routing import Route
from starlette.types import Scope

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})  # all others are one
UNMATCHED = "unmatched"  # no such path, or a preflight, which is answered before there is a route

Observer = Callable[[float], None]
Measure = Callable[[Scope, int, float], None]


def measure_requests(observer: Callable[[str, str, int], Observer], routes: Sequence[Route]) -> Measure:
    """What takes a request that was answered, its status and its seconds, and tells the `observer` of its kind."""
    templates = {route.endpoint: route.path for route in routes}

    def measure(scope: Scope, status: int, seconds: float) -> None:
        route = templates[scope["endpoint"]] if "endpoint" in scope else UNMATCHED
        method = scope["method"] if scope["method"] in METHODS else "other"
        observer(method, route, status)(seconds)

    return measure
