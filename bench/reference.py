"""The reference of refresh: the same endpoint with one look-up a request, and a write only where it rotates."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import cast

from starlette.applications import Starlette

from service import app as service
from service.auth import Auth, TokenPair, _moment
from service.errors import SessionRevoked
from service.queries import refresh_tokens


class OneLookUp(Auth):
    """Shares nothing with other requests; reads again what it wrote."""

    async def refresh(self, refresh_token: str) -> TokenPair:
        claims = self.tokens.verify_refresh(refresh_token, self.clock())
        now = self._now()
        session = await refresh_tokens.find_live(self.database, claims.sid, claims.sub, _moment(now))
        if session is not None and session.generation == claims.gen:
            await self._rotate(session, now)
            session = await refresh_tokens.find_live(self.database, claims.sid, claims.sub, _moment(now))
        if session is None or session.generation != claims.gen + 1:
            raise SessionRevoked
        return self._issue(session, now)


def create_app() -> Starlette:
    """The service, but for its refresh."""
    app = service.create_app()
    lifespan = app.router.lifespan_context

    @asynccontextmanager
    async def with_reference(app: Starlette) -> AsyncIterator[dict[str, object]]:
        async with lifespan(app) as state:
            auth = cast(Auth, (state or {})["auth"])
            yield {"auth": OneLookUp(**{field.name: getattr(auth, field.name) for field in fields(auth)})}

    app.router.lifespan_context = with_reference
    return app
