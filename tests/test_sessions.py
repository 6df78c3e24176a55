"""What users see of their sessions, and how they end them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from pymysql.cursors import Cursor

from service.rotation import USE_INTERVAL
from tests.conftest import PASSWORD, StartClient
from tests.server import claims_of
from tests.test_verify import bearer

Pair = dict[str, str]
HOUR = 3600


async def log_in(client: httpx.AsyncClient, name: str, user_agent: str = "a test") -> Pair:
    body, headers = {"username": name, "password": PASSWORD}, {"User-Agent": user_agent}
    answer = await client.post("/auth/login", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    pair: Pair = answer.json()
    return pair


async def refresh(client: httpx.AsyncClient, pair: Pair) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refreshToken": pair["refreshToken"]})


async def verify(client: httpx.AsyncClient, pair: Pair) -> httpx.Response:
    return await client.get("/auth/verify", headers=bearer(pair["token"]))


async def sessions_of(client: httpx.AsyncClient, pair: Pair) -> list[dict[str, Any]]:
    answer = await client.get("/auth/sessions", headers=bearer(pair["token"]))
    assert answer.status_code == 200, answer.text
    assert set(answer.json()) == {"sessions"}
    found: list[dict[str, Any]] = answer.json()["sessions"]
    return found


def sid(pair: Pair) -> str:
    return str(claims_of(pair["token"])["sid"])


async def is_over(client: httpx.AsyncClient, pair: Pair) -> bool:
    """Whether neither token of a session is of any more use; they are never of different minds."""
    verified, refreshed = await verify(client, pair), await refresh(client, pair)
    assert verified.status_code == refreshed.status_code
    if verified.status_code == 401:
        sentence = {"error": "The session has ended; log in again.", "code": "session_revoked"}
        assert verified.json() == {"valid": False, **sentence}
        assert refreshed.json() == sentence
        assert verified.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    return verified.status_code == 401


async def test_a_session_says_when_and_where_it_was_opened(client: httpx.AsyncClient, name: str) -> None:
    pair = await log_in(client, name, "Firefox on a desk")
    [session] = await sessions_of(client, pair)
    assert set(session) == {"id", "createdAt", "lastUsedAt", "userAgent", "ip", "current"}
    assert session["id"] == sid(pair)
    assert session["current"] is True
    assert session["userAgent"] == "Firefox on a desk"
    assert session["ip"] == "127.0.0.1"
    created = datetime.fromisoformat(session["createdAt"])
    assert created.utcoffset() == timedelta(0)
    assert abs(created.timestamp() - time.time()) < 10
    assert session["lastUsedAt"] == session["createdAt"]


async def test_what_a_client_says_of_itself_is_stored_as_it_is_and_cut(client: httpx.AsyncClient, name: str) -> None:
    said = "<script>alert(1)</script>' or '1'='1 %s \t é"
    wide = await log_in(client, name, said.encode("latin-1"))  # type: ignore[arg-type]  # httpx takes bytes too
    long = await log_in(client, name, "x" * 17_000_000)  # more than the database takes
    silent = await client.post("/auth/login", json={"username": name, "password": PASSWORD}, headers={"User-Agent": ""})
    agents = {session["id"]: session["userAgent"] for session in await sessions_of(client, wide)}
    assert agents == {sid(wide): said, sid(long): "x" * 255, sid(silent.json()): ""}


async def test_sessions_are_listed_by_their_last_use(start: StartClient, new_name: Callable[[], str]) -> None:
    """A client that ignores rotation too: to the hour."""
    now, name = [time.time()], new_name()
    async with start(clock=lambda: now[0], jwt_expiry=30 * HOUR) as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        pairs = []
        for _ in range(3):
            pairs.append(await log_in(client, name))
            now[0] += HOUR
        first, second, third = pairs

        async def order() -> list[str]:
            return [session["id"] for session in await sessions_of(client, first)]

        assert await order() == [sid(third), sid(second), sid(first)]
        await refresh(client, second)
        assert await order() == [sid(second), sid(third), sid(first)]
        now[0] += USE_INTERVAL
        await refresh(client, first)
        await refresh(client, second)  # the same token again: its session stays
        assert await order() == [sid(second), sid(first), sid(third)]
        used = datetime.fromisoformat((await sessions_of(client, first))[0]["lastUsedAt"])
        assert used.timestamp() == int(now[0])


async def test_a_session_that_expired_is_not_listed_and_nobody_elses_is(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    now, names = [time.time()], [new_name(), new_name()]
    async with start(clock=lambda: now[0], refresh_expiry=2 * HOUR, jwt_expiry=30 * HOUR) as client:
        for name in names:
            await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        old = await log_in(client, names[0])
        now[0] += HOUR
        await log_in(client, names[1])
        live = await log_in(client, names[0])
        assert [each["id"] for each in await sessions_of(client, live)] == [sid(live), sid(old)]
        now[0] += HOUR
        assert [(each["id"], each["current"]) for each in await sessions_of(client, live)] == [(sid(live), True)]
        refused = await client.get("/auth/sessions", headers=bearer(old["token"]))
        assert (refused.status_code, refused.json()["code"]) == (401, "session_revoked")


async def test_a_user_ends_one_session_and_no_other(client: httpx.AsyncClient, name: str) -> None:
    here, there, third = [await log_in(client, name) for _ in range(3)]
    answer = await client.delete(f"/auth/sessions/{sid(there)}", headers=bearer(here["token"]))
    assert (answer.status_code, answer.json()) == (200, {"success": True, "message": "Session ended"})
    assert await is_over(client, there)
    assert not await is_over(client, here)
    assert not await is_over(client, third)
    assert {session["id"] for session in await sessions_of(client, here)} == {sid(here), sid(third)}


async def test_another_users_session_and_an_unknown_one_are_refused_alike(
    client: httpx.AsyncClient, tokens: Pair, new_name: Callable[[], str]
) -> None:
    stranger = new_name()
    await client.post("/auth/signup", json={"username": stranger, "password": PASSWORD})
    own = await log_in(client, stranger)
    answers = [
        await client.delete(f"/auth/sessions/{each}", headers=bearer(own["token"]))
        for each in (sid(tokens), "00000000-0000-7000-8000-000000000000", "nonsense", "é", "x" * 2000, "%00", "' or 1")
    ]
    assert {answer.status_code for answer in answers} == {404}
    bodies = [answer.json() for answer in answers]
    assert all(body == {"error": "You have no such session.", "code": "session_not_found"} for body in bodies)
    assert not await is_over(client, tokens)


async def test_a_user_may_end_the_session_that_asks(client: httpx.AsyncClient, tokens: Pair) -> None:
    url, headers = f"/auth/sessions/{sid(tokens)}", bearer(tokens["token"])
    assert (await client.delete(url, headers=headers)).status_code == 200
    assert (await client.delete(url, headers=headers)).status_code == 401
    assert await is_over(client, tokens)


@pytest.mark.parametrize("body", [None, {}, {"keepCurrent": False}, {"userId": "somebody-else"}])
async def test_logoutall_ends_every_session_of_the_user(
    client: httpx.AsyncClient, name: str, body: dict[str, object] | None, new_name: Callable[[], str]
) -> None:
    stranger = new_name()
    await client.post("/auth/signup", json={"username": stranger, "password": PASSWORD})
    other, *pairs = await log_in(client, stranger), *[await log_in(client, name) for _ in range(3)]
    answer = await client.post("/auth/logoutall", json=body, headers=bearer(pairs[0]["token"]))
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "Logged out everywhere", "tokensDeleted": 3}
    assert all([await is_over(client, pair) for pair in pairs])
    assert not await is_over(client, other)


async def test_an_empty_body_is_none_however_it_is_sent(client: httpx.AsyncClient, name: str) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    pair = await log_in(client, name)
    answer = await client.post("/auth/logoutall", content=nothing(), headers=bearer(pair["token"]))
    assert (answer.status_code, answer.json()["tokensDeleted"]) == (200, 1)


@pytest.mark.parametrize("end", ["login", "logoutall", "account"])
async def test_a_user_with_very_many_sessions_gets_rid_of_them(
    client: httpx.AsyncClient, name: str, sql: Cursor, end: str
) -> None:
    """As the first release left them, which had no limit."""
    pair = await log_in(client, name)
    sql.execute(
        """
        insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
        select uuid(), users.id, 0, utc_timestamp() - interval 1 day, utc_timestamp() + interval 1 day, utc_timestamp()
        from users, seq_1_to_1700
        where username = %s
        """,
        name,
    )
    if end == "login":
        for _ in range(4):
            await log_in(client, name)
        assert len(await sessions_of(client, pair)) == 50
    elif end == "logoutall":
        answer = await client.post("/auth/logoutall", json={"keepCurrent": True}, headers=bearer(pair["token"]))
        assert (answer.status_code, answer.json()["tokensDeleted"]) == (200, 1700)
        assert len(await sessions_of(client, pair)) == 1
    else:
        sql.execute(
            "select refresh_tokens.id from refresh_tokens join users on users.id = user_id where username = %s", name
        )
        theirs = [row[0] for row in sql.fetchall()]
        body = {"password": PASSWORD}
        answer = await client.request("DELETE", "/auth/account", json=body, headers=bearer(pair["token"]))
        assert answer.status_code == 200
        sql.execute("select count(*) from revocations where session_id in %s", (theirs,))
        assert sql.fetchone() == (1701,)


async def test_logoutall_may_spare_the_session_that_asks(client: httpx.AsyncClient, name: str) -> None:
    here, *others = [await log_in(client, name) for _ in range(3)]
    answer = await client.post("/auth/logoutall", json={"keepCurrent": True}, headers=bearer(here["token"]))
    assert (answer.status_code, answer.json()["tokensDeleted"]) == (200, 2)
    assert not await is_over(client, here)
    assert all([await is_over(client, pair) for pair in others])


@pytest.mark.parametrize("body", ['{"keepCurrent":"yes"}', '{"keepCurrent":null}', '{"keepCurrent":1}', "[]", "true"])
async def test_logoutall_refuses_what_it_cannot_read_and_ends_nothing(
    client: httpx.AsyncClient, tokens: Pair, body: str
) -> None:
    headers = {**bearer(tokens["token"]), "Content-Type": "application/json"}
    answer = await client.post("/auth/logoutall", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"] == "The body must have keepCurrent as true or false, if at all."
    plain = await client.post("/auth/logoutall", content='{"keepCurrent":true}', headers=bearer(tokens["token"]))
    assert plain.status_code == 415
    assert not await is_over(client, tokens)


async def test_past_the_limit_the_session_used_least_recently_ends(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 28."""
    now, name = [time.time()], new_name()
    async with start(clock=lambda: now[0], max_sessions=3, jwt_expiry=30 * HOUR) as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        pairs = []
        for _ in range(3):
            pairs.append(await log_in(client, name))
            now[0] += 60
        pairs[0] = (await refresh(client, pairs[0])).json()
        now[0] += 60
        newest = await log_in(client, name)
        assert await is_over(client, pairs[1]), "used before the two others"
        assert {each["id"] for each in await sessions_of(client, newest)} == {sid(pairs[0]), sid(pairs[2]), sid(newest)}


async def test_a_clock_that_is_behind_ends_no_session_that_it_refreshes(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """Of a machine that was put back to a snapshot; the others know better."""
    name = new_name()
    async with start() as client, start(clock=lambda: time.time() - 400 * 24 * HOUR) as behind:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        pair = await log_in(client, name)
        assert (await refresh(behind, pair)).status_code == 200
        assert (await refresh(client, pair)).status_code == 200


async def test_many_logins_at_once_leave_as_many_sessions_as_the_limit_says(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    name = new_name()
    async with start(max_sessions=3) as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        pairs = await asyncio.gather(*(log_in(client, name) for _ in range(20)))
        over = [await is_over(client, pair) for pair in pairs]
        assert over.count(False) == 3


REQUESTS = [
    ("GET", "/auth/sessions", None),
    ("DELETE", "/auth/sessions/x", None),
    ("POST", "/auth/logoutall", None),
    ("PUT", "/auth/password", {"currentPassword": PASSWORD, "newPassword": PASSWORD + "!"}),
    ("DELETE", "/auth/account", {"password": PASSWORD}),
]


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_each_wants_a_live_access_token(
    client: httpx.AsyncClient, tokens: Pair, name: str, method: str, path: str, body: object
) -> None:
    cases = [({}, "missing_token"), (bearer(tokens["refreshToken"]), "invalid_token"), (bearer("x"), "invalid_token")]
    for headers, code in cases:
        answer = await client.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, code)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    await client.post("/auth/logout", json={"refreshToken": tokens["refreshToken"]})
    answer = await client.request(method, path, json=body, headers=bearer(tokens["token"]))
    assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")
    assert await log_in(client, name)


@pytest.mark.parametrize(("method", "path", "body"), REQUESTS)
async def test_a_session_that_ended_does_nothing_more_even_where_no_process_knows_of_it(
    start: StartClient, new_name: Callable[[], str], method: str, path: str, body: object
) -> None:
    """Each asks the database, which knows."""
    name = new_name()
    async with start(revocation_interval=0) as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        here, there = await log_in(client, name), await log_in(client, name)
        await client.post("/auth/logout", json={"refreshToken": there["refreshToken"]})
        assert (await verify(client, there)).status_code == 200
        answer = await client.request(method, path, json=body, headers=bearer(there["token"]))
        assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")
        assert not await is_over(client, here)
