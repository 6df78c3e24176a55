import re
import time
from collections.abc import Callable
from urllib.parse import unquote, unquote_plus

import httpx
import pytest

from tests.conftest import PASSWORD, StartClient
from tests.server import ISSUER


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_verify_names_the_user_of_an_access_token(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str
) -> None:
    answer = await client.get("/auth/verify", headers=bearer(tokens["token"]))
    assert answer.status_code == 200
    assert answer.json() == {"valid": True, "user": {"username": name}}


@pytest.mark.parametrize(
    ("name", "encoded"),
    [
        ("ada.b-c_d~e@example.org", "ada.b-c_d~e@example.org"),
        ("Zoë", "Zo%C3%AB"),
        ("名", "%E5%90%8D"),
        ("100%25+1&a=b,c;d", "100%2525%2B1%26a%3Db%2Cc%3Bd"),
        ("a/b?c#d:e\"f'g", "a%2Fb%3Fc%23d%3Ae%22f%27g"),
    ],
)
@pytest.mark.parametrize("way", [{}, {"X-Request-ID": "0"}, {"Origin": "https://app.example"}], ids=str)
async def test_verify_names_the_user_and_the_session_to_a_gateway(
    client: httpx.AsyncClient, name: str, encoded: str, way: dict[str, str]
) -> None:
    """On the short way and on the long one: as text that fits into any header, and back; pages don't read it."""
    token = ISSUER.issue_access(user_id="user-id", username=name, session_id="sid", now=int(time.time()))
    answer = await client.get("/auth/verify", headers=bearer(token) | way)
    assert answer.headers.get_list("Remote-User") == [encoded]
    assert unquote(encoded) == unquote_plus(encoded) == name
    assert answer.headers.get_list("X-Auth-User-Id") == ["user-id"]
    assert answer.headers.get_list("X-Auth-Session") == ["sid"]
    exposed = answer.headers.get("Access-Control-Expose-Headers", "").lower()
    assert "remote-user" not in exposed
    assert "x-auth" not in exposed


@pytest.mark.parametrize("way", [{}, {"X-Request-ID": "0"}], ids=str)
async def test_no_claim_ends_a_header_or_adds_one(client: httpx.AsyncClient, way: dict[str, str]) -> None:
    """Though nobody but who has a key could sign such claims: a name is encoded, other ids than ours are refused."""
    odd = "a\r\nX-Evil: 1"
    now = int(time.time())
    token = ISSUER.issue_access(user_id="u", username=odd, session_id="s", now=now)
    answer = await client.get("/auth/verify", headers=bearer(token) | way)
    assert (answer.status_code, answer.headers["Remote-User"]) == (200, "a%0D%0AX-Evil%3A%201")
    assert "X-Evil" not in answer.headers
    for ids in ({"user_id": odd, "session_id": "s"}, {"user_id": "u", "session_id": odd}):
        token = ISSUER.issue_access(username="u", now=now, **ids)
        assert (await client.get("/auth/verify", headers=bearer(token) | way)).status_code == 401


async def test_a_refusal_names_nobody(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    for headers in ({}, bearer("x"), bearer(tokens["refreshToken"])):
        answer = await client.get("/auth/verify", headers=headers)
        assert not {"remote-user", "x-auth-user-id", "x-auth-session"} & set(answer.headers)


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
