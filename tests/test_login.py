import statistics
import time
from collections.abc import Callable

import bcrypt
import httpx
import pytest
from pymysql.cursors import Cursor

from service.localdb import LocalDatabase
from service.ratelimits import RateLimits
from tests.conftest import PASSWORD, StartClient, add_user
from tests.server import claims_of, cursor_on


async def test_login_answers_two_tokens(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/auth/login", json={"username": name, "password": PASSWORD})
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "refreshToken"}


async def test_the_tokens_say_what_the_design_says_and_no_more(tokens: dict[str, str], name: str) -> None:
    """REQUIREMENTS 20, 21, 22: 5 minutes and 7 days, a random jti, no secret."""
    access, refresh = claims_of(tokens["token"]), claims_of(tokens["refreshToken"])
    assert set(access) == {"sub", "username", "type", "sid", "jti", "iat", "exp"}
    assert set(refresh) == {"sub", "username", "type", "sid", "gen", "iat", "exp"}
    assert (access["type"], refresh["type"], refresh["gen"]) == ("access", "refresh", 0)
    assert access["username"] == refresh["username"] == name
    assert access["sid"] == refresh["sid"]
    assert access["exp"] - access["iat"] == 300
    assert refresh["exp"] - refresh["iat"] == 7 * 86400
    assert abs(access["iat"] - time.time()) < 10
    assert len(str(access["jti"])) >= 22, "128 bits in base64url"


@pytest.mark.parametrize("body", [{}, {"username": "x"}, {"password": PASSWORD}, {"username": "x", "password": ""}])
async def test_a_missing_field_is_a_400(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    answer = await client.post("/auth/login", json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "missing_field")


async def test_an_unknown_user_and_a_wrong_password_are_answered_alike(client: httpx.AsyncClient, name: str) -> None:
    """REQUIREMENTS 40: status, body and headers."""
    wrong = await client.post("/auth/login", json={"username": name, "password": "not the password"})
    unknown = await client.post("/auth/login", json={"username": "nobody-" + name, "password": PASSWORD})
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json() == {"error": "Wrong username or password.", "code": "invalid_credentials"}
    assert wrong.headers["WWW-Authenticate"] == "Bearer"
    varying = {"date", "x-request-id"}
    ours = [{k: v for k, v in answer.headers.items() if k not in varying} for answer in (wrong, unknown)]
    assert ours[0] == ours[1]


async def test_an_unknown_user_takes_as_long_as_a_wrong_password(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 40: medians within 1.2; more samples if it is noisy, at last the best: noise only adds.

    Also of who has not logged in since the cost rose.
    """
    name, early_name = new_name(), new_name()
    add_user(sql, name, bcrypt.hashpw(b"", bcrypt.gensalt(10)).decode())
    add_user(sql, early_name, bcrypt.hashpw(b"", bcrypt.gensalt(8)).decode())
    seconds: dict[str, list[float]] = {name: [], early_name: [], "nobody-" + name: [], "no such name": []}
    async with start(bcrypt_rounds=10, limits=RateLimits(rate_limits=False)) as client:
        for samples in range(1, 101):
            for username, times in seconds.items():
                started = time.perf_counter()
                await client.post("/auth/login", json={"username": username, "password": "not the password"})
                times.append(time.perf_counter() - started)
            medians = sorted(statistics.median(times) for times in seconds.values())
            if samples >= 15 and medians[-1] < 1.2 * medians[0]:
                return
    best = sorted(min(times) for times in seconds.values())
    assert best[-1] < 1.2 * best[0], medians


@pytest.mark.parametrize("password", ["x" * 73, "x" * 10000, "with\0nul-inside", "é" * 40, "short"])
async def test_an_unacceptable_password_is_a_wrong_one_for_anybody(
    start: StartClient, sql: Cursor, new_name: Callable[[], str], password: str
) -> None:
    """REQUIREMENTS 41."""
    name = add_user(sql, new_name())
    async with start() as client:
        for username in (name, "nobody-" + name):
            answer = await client.post("/auth/login", json={"username": username, "password": password})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


async def test_a_password_that_begins_with_the_right_72_bytes_is_wrong(
    client: httpx.AsyncClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 34."""
    fresh = new_name()
    await client.post("/auth/signup", json={"username": fresh, "password": "x" * 72})
    answer = await client.post("/auth/login", json={"username": fresh, "password": "x" * 73})
    assert answer.status_code == 401


@pytest.mark.parametrize("stored", ["", "$2b$12$short", "plain text", "$1$abc$def", "$2b$10$" + "!" * 53])
async def test_a_stored_hash_that_cannot_be_read_matches_nothing(
    start: StartClient, new_name: Callable[[], str], sql: Cursor, stored: str
) -> None:
    name = add_user(sql, new_name(), stored)
    async with start() as client:
        for password in (PASSWORD, stored or "x"):
            answer = await client.post("/auth/login", json={"username": name, "password": password})
            assert answer.status_code == 401


async def test_a_login_after_the_cost_rose_renews_the_hash(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 38."""
    fresh = new_name()
    credentials = {"username": fresh, "password": PASSWORD}
    query = "select password_hash from users where username = %s"
    async with start(bcrypt_rounds=4) as client:
        await client.post("/auth/signup", json=credentials)
    async with start(bcrypt_rounds=5) as client:
        wrong = await client.post("/auth/login", json={**credentials, "password": "not the password"})
        assert wrong.status_code == 401
        sql.execute(query, fresh)
        assert str(sql.fetchall()[0][0]).startswith("$2b$04$")
        for _ in range(2):
            assert (await client.post("/auth/login", json=credentials)).status_code == 200
            sql.execute(query, fresh)
            assert str(sql.fetchall()[0][0]).startswith("$2b$05$")
    async with start(bcrypt_rounds=4) as client:
        assert (await client.post("/auth/login", json=credentials)).status_code == 200
        sql.execute(query, fresh)
        assert str(sql.fetchall()[0][0]).startswith("$2b$05$"), "a cost that fell renews nothing"


async def test_an_account_deleted_during_its_login_opens_no_session(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 29."""
    credentials = {"username": new_name(), "password": PASSWORD}

    def deleting_clock() -> float:
        sql.execute("delete from users where username = %s", credentials["username"])
        return time.time()

    async with start() as client:
        await client.post("/auth/signup", json=credentials)
    async with start(clock=deleting_clock) as client:
        answer = await client.post("/auth/login", json=credentials)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")


async def test_there_are_no_accounts_but_those_that_signed_up(
    client: httpx.AsyncClient, own_mariadb: LocalDatabase
) -> None:
    """REQUIREMENTS 45."""
    with cursor_on(own_mariadb.url) as cursor:
        cursor.execute("select count(*) from users")
        assert cursor.fetchone() == (0,)
    for username, password in [("admin", "admin"), ("admin", "password"), ("root", "root"), ("test", "test")]:
        answer = await client.post("/auth/login", json={"username": username, "password": password})
        assert answer.status_code == 401
