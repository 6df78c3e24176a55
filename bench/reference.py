"""The reference of refresh: the same endpoint with one look-up a request, and a write only where it rotates."""

from starlette.applications import Starlette

from service import app as service
from service.queries.refresh_tokens import Session
from service.rotation import Rotation, Step


async def _advance_alone(self: Rotation, step: Step) -> Session | None:
    """Shares nothing with other requests."""
    return (await self.advance_all([step]))[step]


def create_app() -> Starlette:
    """The service, but for its rotation: for a process of its own."""
    Rotation.advance = _advance_alone  # type: ignore[method-assign]  # the service has no other reason to choose one
    return service.create_app()
