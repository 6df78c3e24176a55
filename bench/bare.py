"""The limit of verify: uvicorn with an application that always gives the same answer."""

from starlette.types import ASGIApp, Receive, Scope, Send

BODY = b'{"valid":true,"user":{"username":"user-01234"}}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]


def create_app() -> ASGIApp:
    """As small as an ASGI application can be."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": BODY})

    return app
