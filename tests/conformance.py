"""Whether what the service answers is what its OpenAPI document says: for all tests that see an answer."""

import json
from functools import cache

import httpx
from starlette.routing import Match

from service.address import DatabaseAddress
from service.app import create_app
from service.settings import KeySettings, Settings
from service.web.operation import Operation
from service.web.refusals import reasons_of
from tests.server import CLIENT_SECRET, SECRET


@cache
def operations() -> list[Operation]:
    """Of a service that has everything switched on."""
    settings = Settings(
        database=DatabaseAddress.from_url("mysql://nobody@127.0.0.1/nothing"),
        keys=KeySettings(jwt_secret=SECRET.encode()),
        introspection_secret=CLIENT_SECRET.encode(),
    )
    return [route for route in create_app(settings).routes if isinstance(route, Operation)]


async def conforms(answer: httpx.Response) -> None:
    """Asserts that the status, and the code of a refusal, are among those that the endpoint names."""
    scope = {"type": "http", "method": answer.request.method, "path": answer.request.url.path}
    for operation in operations():
        if operation.matches(scope)[0] is Match.FULL and answer.request.method == operation.method:
            await answer.aread()
            named = {(reason.status, reason.code) for reason in reasons_of(operation)}
            assert answer.status_code == 200 or (answer.status_code, code_of(answer)) in named, answer.text


def code_of(answer: httpx.Response) -> str | None:
    """The code of a refusal in our shape."""
    try:
        body = json.loads(answer.content)
    except ValueError:
        return None
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, str) else None
