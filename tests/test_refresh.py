"""The rows of the session table of the design, and what a refresh keeps and renews."""

import time
from collections.abc import Callable

import httpx
import pytest
from pymysql.cursors import Cursor

from service.database import Database, Row
from tests.conftest import PASSWORD, StartClient
from tests.server import CLIENT_SECRET, SECRET, claims_of


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refreshToken": token})


async def successor(client: httpx.AsyncClient, token: str) -> str:
    answer = await refresh(client, token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["refreshToken"])


async def test_the_live_token_gets_a_new_pair(client: httpx.AsyncClient, tokens: dict[str, str], name: str) -> None:
    """REQUIREMENTS 30; row `generation = g`."""
    answer = await refresh(client, tokens["refreshToken"])
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "refreshToken"}
    before, after = claims_of(tokens["refreshToken"]), claims_of(answer.json()["refreshToken"])
    assert (after["sid"], after["sub"], after["gen"]) == (before["sid"], before["sub"], 1)
    verified = await client.get("/auth/verify", headers={"Authorization": f"Bearer {answer.json()['token']}"})
    assert verified.json() == {"valid": True, "user": {"username": name}}
    assert claims_of(answer.json()["token"])["jti"] != claims_of(tokens["token"])["jti"]


async def test_a_token_whose_successor_was_never_used_gets_the_same_successor(
    client: httpx.AsyncClient, tokens: dict[str, str], sql: Cursor
) -> None:
    """REQUIREMENTS 30; row `generation = g+1`: a lost answer, a second tab, a client that ignores rotation."""
    first = await successor(client, tokens["refreshToken"])
    sql.execute("select generation, rotated_at, expires_at from refresh_tokens where id = %s", claims_of(first)["sid"])
    row = sql.fetchone()
    for _ in range(5):
        assert await successor(client, tokens["refreshToken"]) == first
    sql.execute("select generation, rotated_at, expires_at from refresh_tokens where id = %s", claims_of(first)["sid"])
    assert sql.fetchone() == row, "no write"


async def test_an_old_token_after_its_successor_was_used_ends_the_session(
    client: httpx.AsyncClient, tokens: dict[str, str], sql: Cursor
) -> None:
    """REQUIREMENTS 30; row `generation > g+1`: theft or a bug."""
    second = await successor(client, tokens["refreshToken"])
    third = await successor(client, second)
    answer = await refresh(client, tokens["refreshToken"])
    assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")
    sql.execute("select count(*) from refresh_tokens where id = %s", claims_of(third)["sid"])
    assert sql.fetchone() == (0,)
    for token in (tokens["refreshToken"], second, third):
        assert (await refresh(client, token)).status_code == 401


async def test_a_dump_of_the_database_has_no_part_of_a_token(
    client: httpx.AsyncClient, tokens: dict[str, str], sql: Cursor
) -> None:
    """REQUIREMENTS 24: neither its signature, nor the secret that signs, nor the password."""
    pairs = [tokens, (await refresh(client, tokens["refreshToken"])).json()]
    sql.execute("select table_name from information_schema.tables where table_schema = database()")
    tables = [row[0] for row in sql.fetchall()]
    assert {"users", "refresh_tokens", "revocations"} <= set(tables)
    dump = ""
    for table in tables:
        sql.execute(f"select * from {table}")
        dump += repr(sql.fetchall())
    assert str(claims_of(tokens["refreshToken"])["sid"]) in dump
    parts = [part for pair in pairs for name in ("token", "refreshToken") for part in pair[name].split(".")]
    for secret in (*parts, SECRET, PASSWORD):
        assert secret not in dump


async def test_a_token_whose_session_is_gone_is_refused(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 23; row `none`."""
    await client.post("/auth/logout", json={"refreshToken": tokens["refreshToken"]})
    answer = await refresh(client, tokens["refreshToken"])
    assert answer.status_code == 401
    assert answer.json() == {"error": "The session has ended; log in again.", "code": "session_revoked"}


async def test_a_session_that_expired_in_the_database_is_refused(
    client: httpx.AsyncClient, tokens: dict[str, str], sql: Cursor
) -> None:
    """Row `expired`, while the token itself still lives."""
    session = claims_of(tokens["refreshToken"])["sid"]
    sql.execute("update refresh_tokens set expires_at = utc_timestamp() where id = %s", session)
    assert (await refresh(client, tokens["refreshToken"])).json()["code"] == "session_revoked"
    sql.execute("select generation from refresh_tokens where id = %s", session)
    assert sql.fetchone() == (0,), "an expired session is not rotated"


async def test_a_session_that_ended_does_not_come_back_where_the_database_lost_its_end(
    start: StartClient, name: str, sql: Cursor
) -> None:
    """As a replica that took over before it had heard of it: whoever logged out would be logged in again."""
    async with start(introspection_secret=CLIENT_SECRET.encode()) as client:
        tokens = (await client.post("/auth/login", json={"username": name, "password": PASSWORD})).json()
        session_id = claims_of(tokens["refreshToken"])["sid"]
        sql.execute("select * from refresh_tokens where id = %s", session_id)
        row = sql.fetchone()
        assert row
        await client.post("/auth/logout", json={"refreshToken": tokens["refreshToken"]})

        sql.execute("delete from revocations where session_id = %s", session_id)
        sql.execute(f"insert into refresh_tokens values ({', '.join(['%s'] * len(row))})", row)
        form = {"token": tokens["refreshToken"]}
        found = await client.post("/auth/introspect", data=form, auth=("gateway", CLIENT_SECRET))
        assert found.json() == {"active": False}
        answer = await refresh(client, tokens["refreshToken"])
        assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")
        sql.execute("select count(*) from refresh_tokens where id = %s", session_id)
        assert sql.fetchone() == (0,), "it has ended again, for all processes"
        sql.execute("select count(*) from revocations where session_id = %s", session_id)
        assert sql.fetchone() == (1,)


async def test_whose_rotation_is_not_known_yet_where_it_is_read_is_not_logged_out(
    start: StartClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that lags behind, to which a proxy sends what only reads, stands here for the same answer again."""
    answers: dict[tuple[object, ...], list[Row]] = {}
    fetch_all = Database.fetch_all

    async def fetch_late(self: Database, statement: str, *arguments: object) -> list[Row]:
        if arguments not in answers:
            answers[arguments] = await fetch_all(self, statement, *arguments)
        return answers[arguments]

    async with start() as service:
        tokens = (await service.post("/auth/login", json={"username": name, "password": PASSWORD})).json()
        with monkeypatch.context() as patch:
            patch.setattr(Database, "fetch_all", fetch_late)
            answer = await refresh(service, tokens["refreshToken"])
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert answer.headers["Retry-After"]
        assert claims_of(await successor(service, tokens["refreshToken"]))["gen"] == 1


async def test_a_token_newer_than_its_row_is_refused_and_harms_nothing(
    client: httpx.AsyncClient, tokens: dict[str, str], sql: Cursor
) -> None:
    """After a database was restored from a backup."""
    newer = await successor(client, await successor(client, tokens["refreshToken"]))
    sql.execute("update refresh_tokens set generation = 0 where id = %s", claims_of(newer)["sid"])
    assert (await refresh(client, newer)).status_code == 401
    assert (await refresh(client, tokens["refreshToken"])).status_code == 200


async def test_what_is_not_a_refresh_token_is_refused(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 11, 25."""
    true = tokens["refreshToken"]
    for token in (tokens["token"], true + " ", " " + true, true + "=", true.swapcase(), true[:-1], "x"):
        answer = await refresh(client, token)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), token
    missing = await client.post("/auth/refresh", json={})
    assert missing.json() == {
        "error": "The body must have refreshToken as text that is not empty.",
        "code": "missing_field",
    }
    assert missing.status_code == 400


async def test_the_tokens_of_one_user_do_not_open_the_session_of_another(
    client: httpx.AsyncClient, tokens: dict[str, str], new_name: Callable[[], str], sql: Cursor
) -> None:
    """The `sub` of a token must be the row's user."""
    other = new_name()
    await client.post("/auth/signup", json={"username": other, "password": PASSWORD})
    session = claims_of(tokens["refreshToken"])["sid"]
    sql.execute(
        "update refresh_tokens set user_id = (select id from users where username = %s) where id = %s", (other, session)
    )
    assert (await refresh(client, tokens["refreshToken"])).status_code == 401
    await client.post("/auth/logout", json={"refreshToken": tokens["refreshToken"]})
    sql.execute("select generation from refresh_tokens where id = %s", session)
    assert sql.fetchone() == (0,), "neither rotated nor ended"


async def test_new_tokens_bear_the_name_that_the_database_has(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str, new_name: Callable[[], str], sql: Cursor
) -> None:
    renamed = new_name()
    sql.execute("update users set username = %s, username_key = %s where username = %s", (renamed, renamed, name))
    answer = (await refresh(client, tokens["refreshToken"])).json()
    assert claims_of(answer["token"])["username"] == claims_of(answer["refreshToken"])["username"] == renamed


async def test_deleting_a_user_ends_all_of_its_sessions(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str, sql: Cursor
) -> None:
    """REQUIREMENTS 29."""
    other = (await client.post("/auth/login", json={"username": name, "password": PASSWORD})).json()
    sql.execute("delete from users where username = %s", name)
    for pair in (tokens, other):
        assert (await refresh(client, pair["refreshToken"])).status_code == 401


async def test_each_rotation_renews_a_session_up_to_its_greatest_age(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 21: 7 days from each rotation, 30 days from the login."""
    credentials = {"username": new_name(), "password": PASSWORD}
    day = 86400
    login_at = int(time.time())
    now = [login_at]
    async with start(clock=lambda: now[0]) as client:
        await client.post("/auth/signup", json=credentials)
        token = (await client.post("/auth/login", json=credentials)).json()["refreshToken"]
        for days, expires_after in [(6, 13), (12, 19), (18, 25), (24, 30), (29, 30)]:
            now[0] = login_at + days * day
            token = await successor(client, token)
            assert claims_of(token)["exp"] == login_at + expires_after * day
            assert claims_of(token)["iat"] == now[0]
        now[0] = login_at + 30 * day - 1
        assert (await refresh(client, token)).status_code == 200
        now[0] = login_at + 30 * day
        assert (await refresh(client, token)).status_code == 401


async def test_a_refresh_token_lives_for_7_days_to_the_second(start: StartClient, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 13, 21."""
    credentials = {"username": new_name(), "password": PASSWORD}
    login_at = int(time.time())
    now = [login_at]
    async with start(clock=lambda: now[0]) as client:
        await client.post("/auth/signup", json=credentials)
        token = (await client.post("/auth/login", json=credentials)).json()["refreshToken"]
        now[0] = login_at + 7 * 86400 - 1
        assert (await refresh(client, token)).status_code == 200
        now[0] += 1
        assert (await refresh(client, token)).json()["code"] == "invalid_token"


async def test_no_session_outlives_its_greatest_age_even_before_a_rotation(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start(session_max_age=3600) as client:
        await client.post("/auth/signup", json=credentials)
        claims = claims_of((await client.post("/auth/login", json=credentials)).json()["refreshToken"])
        assert claims["exp"] == claims["iat"] + 3600
