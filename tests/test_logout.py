import asyncio
import time
from collections.abc import Callable

import httpx
import pytest
from pymysql.cursors import Cursor

from tests.conftest import PASSWORD, StartClient
from tests.server import claims_of


async def logout(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/logout", json={"refreshToken": token})


async def test_logout_ends_the_session(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    answer = await logout(client, tokens["refreshToken"])
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "Logged out"}
    again = await client.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert again.status_code == 401


async def test_logout_is_idempotent_for_any_generation(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 27."""
    generations = [tokens["refreshToken"]]
    for _ in range(3):
        answer = await client.post("/auth/refresh", json={"refreshToken": generations[-1]})
        generations.append(answer.json()["refreshToken"])
    for token in generations * 2:
        assert (await logout(client, token)).status_code == 200
    assert (await client.post("/auth/refresh", json={"refreshToken": generations[-1]})).status_code == 401


async def test_of_many_logouts_at_once_one_ends_the_session(
    start: StartClient, new_name: Callable[[], str], sql: Cursor, caplog: pytest.LogCaptureFixture
) -> None:
    """All are answered alike; the log, and whoever hears of ended sessions, has one."""
    caplog.set_level("INFO")
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start() as client:
        await client.post("/auth/signup", json=credentials)
        token = (await client.post("/auth/login", json=credentials)).json()["refreshToken"]
        answers = await asyncio.gather(*(logout(client, token) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert caplog.messages.count("logged_out") == 1
    sql.execute("select count(*) from revocations where session_id = %s", claims_of(token)["sid"])
    assert sql.fetchone() == (1,)


async def test_an_expired_refresh_token_still_logs_out(start: StartClient, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 27: a genuine token; its session may live on under a later generation."""
    credentials = {"username": new_name(), "password": PASSWORD}
    now = [time.time()]
    async with start(clock=lambda: now[0]) as client:
        await client.post("/auth/signup", json=credentials)
        first = (await client.post("/auth/login", json=credentials)).json()["refreshToken"]
        now[0] += 5 * 86400
        second = (await client.post("/auth/refresh", json={"refreshToken": first})).json()["refreshToken"]
        now[0] += 5 * 86400
        assert (await client.post("/auth/refresh", json={"refreshToken": first})).status_code == 401
        assert (await logout(client, first)).status_code == 200
        assert (await client.post("/auth/refresh", json={"refreshToken": second})).status_code == 401


async def test_logout_refuses_what_is_not_a_refresh_token_of_ours(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """REQUIREMENTS 25, 27."""
    true = tokens["refreshToken"]
    for token in (tokens["token"], "nonsense", true + "x", true + " ", true.swapcase(), true + "="):
        answer = await logout(client, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
    missing = await client.post("/auth/logout", json={})
    assert (missing.status_code, missing.json()["code"]) == (400, "missing_field")
    assert (await client.post("/auth/refresh", json={"refreshToken": true})).status_code == 200
