import re
import time
from collections.abc import Callable

import httpx

from tests.conftest import PASSWORD, StartClient


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_verify_names_the_user_of_an_access_token(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str
) -> None:
    answer = await client.get("/auth/verify", headers=bearer(tokens["token"]))
    assert answer.status_code == 200
    assert answer.json() == {"valid": True, "user": {"username": name}}


async def test_verify_without_a_token_says_what_is_missing(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 58: no error attribute where no token was presented."""
    answer = await client.get("/auth/verify")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json() == {
        "valid": False,
        "error": "An Authorization header with a Bearer token is required.",
        "code": "missing_token",
    }


async def test_verify_refuses_what_is_not_an_access_token(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 11, 58."""
    for token in (tokens["refreshToken"], "nonsense", tokens["token"][:-1]):
        answer = await client.get("/auth/verify", headers=bearer(token))
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        expected = {"valid": False, "error": "The token is invalid or has expired.", "code": "invalid_token"}
        assert answer.json() == expected


async def test_an_access_token_lives_for_jwt_expiry(start: StartClient, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 13, 21: to the second."""
    credentials = {"username": new_name(), "password": PASSWORD}
    now = [time.time()]
    async with start(clock=lambda: now[0], jwt_expiry=60) as client:
        await client.post("/auth/signup", json=credentials)
        token = (await client.post("/auth/login", json=credentials)).json()["token"]
        issued = int(now[0])
        for seconds, status in [(0, 200), (59, 200), (60, 401), (61, 401)]:
            now[0] = issued + seconds
            answer = await client.get("/auth/verify", headers=bearer(token))
            assert answer.status_code == status, seconds


async def test_the_short_way_and_the_long_way_give_one_answer(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """A request with an id of its own takes the long way; both are the same to the last header."""
    short = await client.get("/auth/verify", headers=bearer(tokens["token"]))
    long = await client.get("/auth/verify", headers=bearer(tokens["token"]) | {"X-Request-ID": "0" * 32})
    assert short.status_code == long.status_code == 200
    assert short.content == long.content
    varying = {"date", "x-request-id"}
    ways = [{name: value for name, value in way.headers.items() if name not in varying} for way in (short, long)]
    assert ways[0] == ways[1]
    assert re.fullmatch("[0-9a-f]{32}", short.headers["X-Request-ID"])


async def test_a_valid_token_is_taken_from_one_header_of_a_get_only(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    token = tokens["token"]
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]
    assert (await client.get("/auth/verify", headers=twice)).status_code == 401
    assert (await client.post("/auth/verify", headers=bearer(token))).status_code == 405
    head = await client.head("/auth/verify", headers=bearer(token))
    assert (head.status_code, head.content) == (200, b"")
    for scheme in ("bearer", "BEARER", "Bearer  "):
        answer = await client.get("/auth/verify", headers={"Authorization": f"{scheme} {token}"})
        assert answer.status_code == 200
    foreign = await client.get("/auth/verify", headers=bearer(token) | {"Origin": "https://app.example"})
    assert foreign.headers["Access-Control-Allow-Origin"] == "*"
