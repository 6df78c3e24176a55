"""`POST /auth/revoke` (RFC 7009): the end of a session, by whoever has a token of it."""

import time
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import PASSWORD, StartClient

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
DONE = {"success": True, "message": "The token is no longer valid"}


async def revoke(client: httpx.AsyncClient, token: str, **more: str) -> None:
    answer = await client.post("/auth/revoke", data={"token": token, **more})
    assert (answer.status_code, answer.json()) == (200, DONE)
    assert answer.headers["Cache-Control"] == "no-store"


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refreshToken": token})


async def verify(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("kind", ["token", "refreshToken"])
@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense", ""])
async def test_either_token_ends_its_session_whatever_the_hint(
    client: httpx.AsyncClient, tokens: dict[str, str], kind: str, hint: str
) -> None:
    """RFC 7009 §2.1: the hint may be wrong; the access tokens of the session end with it."""
    await revoke(client, tokens[kind], token_type_hint=hint)
    for answer in (await refresh(client, tokens["refreshToken"]), await verify(client, tokens["token"])):
        assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")


async def test_an_old_generation_ends_the_session_and_no_other(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str
) -> None:
    """REQUIREMENTS 26, 27."""
    other = (await client.post("/auth/login", json={"username": name, "password": PASSWORD})).json()
    token = tokens["refreshToken"]
    for _ in range(3):
        token = (await refresh(client, token)).json()["refreshToken"]
    await revoke(client, tokens["refreshToken"])
    await revoke(client, tokens["refreshToken"])
    assert (await refresh(client, token)).status_code == 401
    assert (await refresh(client, other["refreshToken"])).status_code == 200


async def test_a_token_that_is_none_of_ours_is_answered_alike_and_changes_nothing(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """RFC 7009 §2.2, REQUIREMENTS 25."""
    true = tokens["refreshToken"]
    for token in ("nonsense", true + "x", true + " ", true.swapcase(), tokens["token"][:-1], "\0", "é", "x" * 9000):
        await revoke(client, token)
    assert (await refresh(client, true)).status_code == 200


async def test_an_access_token_that_has_expired_has_no_power_and_a_refresh_token_has(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 13, 27."""
    credentials = {"username": new_name(), "password": PASSWORD}
    now = [time.time()]
    async with start(clock=lambda: now[0]) as client:
        await client.post("/auth/signup", json=credentials)
        pair = (await client.post("/auth/login", json=credentials)).json()
        now[0] += 5 * 86400
        renewed = (await refresh(client, pair["refreshToken"])).json()
        await revoke(client, pair["token"])
        assert (await verify(client, renewed["token"])).status_code == 200
        now[0] += 5 * 86400
        assert (await refresh(client, pair["refreshToken"])).status_code == 401
        await revoke(client, pair["refreshToken"])
        assert (await refresh(client, renewed["refreshToken"])).json()["code"] == "session_revoked"


@pytest.mark.parametrize("body", [b"", b"token=", b"toke=x", b"TOKEN=x", b"token_type_hint=refresh_token", b"=x"])
async def test_a_form_without_a_token_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    """RFC 6749 §3.2: a parameter without a value is one that was not sent."""
    answer = await client.post("/auth/revoke", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_field")
    assert answer.json()["error"] == "The body must have token as text that is not empty."


@pytest.mark.parametrize(
    "body",
    [
        b"token=x&token=x", b"token=x&token_type_hint=a&token_type_hint=b", b"token", b"token=x&y", b"token=x&", b"&",
        b'{"token":"x"}', b"token=%ff", b"token=\xff", b"token=%ed%a0%80", b"token=x&%ff=1", b"\0",
    ],
)  # fmt: skip
async def test_what_is_no_form_or_has_a_field_twice_is_a_400(client: httpx.AsyncClient, body: bytes) -> None:
    """RFC 6749 §3.2, REQUIREMENTS 53."""
    answer = await client.post("/auth/revoke", content=body, headers=FORM)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")
    assert answer.json()["error"] == "The body must be one form in UTF-8, with each field once."


async def test_fields_that_are_unknown_are_ignored(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """RFC 6749 §3.2, REQUIREMENTS 56."""
    body = f"client_id=x&client_id=y&=&%00=%00&token={tokens['refreshToken']}&client_secret=z"
    answer = await client.post("/auth/revoke", content=body, headers=FORM)
    assert (answer.status_code, answer.json()) == (200, DONE)
    assert (await refresh(client, tokens["refreshToken"])).status_code == 401


async def test_a_form_of_16_kib_is_read_and_one_byte_more_is_a_413(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 55."""
    whole = b"token=x&y=".ljust(16 * 1024, b"x")
    for body, status in ((whole, 200), (whole + b"x", 413)):
        assert (await client.post("/auth/revoke", content=body, headers=FORM)).status_code == status


@pytest.mark.parametrize("text", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
async def test_what_is_not_sent_as_a_form_is_a_415(client: httpx.AsyncClient, text: str) -> None:
    """REQUIREMENTS 54."""
    answer = await client.post("/auth/revoke", content=b"token=x", headers={"Content-Type": text})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    for sent in ("application/x-www-form-urlencoded;charset=UTF-8", "APPLICATION/X-WWW-Form-Urlencoded"):
        right = await client.post("/auth/revoke", content=b"token=x", headers={"Content-Type": sent})
        assert right.status_code == 200


async def test_a_token_in_the_query_is_not_looked_at(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 32."""
    answer = await client.post("/auth/revoke", params={"token": tokens["refreshToken"]}, headers=FORM)
    assert answer.status_code == 400
    assert (await refresh(client, tokens["refreshToken"])).status_code == 200
