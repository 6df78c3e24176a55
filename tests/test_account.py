"""Changing the password and deleting the account."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from pymysql.cursors import Cursor

from service.localdb import LocalDatabase
from tests.conftest import PASSWORD, StartClient, add_user
from tests.test_database_faults import ask_as_root
from tests.test_sessions import Pair, is_over, log_in, sessions_of
from tests.test_verify import bearer

NEW = "another horse battery"


@pytest.fixture
async def client(start: StartClient) -> AsyncIterator[httpx.AsyncClient]:
    """Of a service with cheap hashing, for many logins."""
    async with start() as http:
        yield http


@pytest.fixture
def name(sql: Cursor, new_name: Callable[[], str]) -> str:
    """Of a user whose hash is as cheap."""
    return add_user(sql, new_name())


async def change(client: httpx.AsyncClient, pair: Pair, current: str = PASSWORD, new: str = NEW) -> httpx.Response:
    body = {"currentPassword": current, "newPassword": new}
    return await client.put("/auth/password", json=body, headers=bearer(pair["token"]))


async def delete(client: httpx.AsyncClient, pair: Pair, password: str = PASSWORD) -> httpx.Response:
    return await client.request("DELETE", "/auth/account", json={"password": password}, headers=bearer(pair["token"]))


async def login_status(client: httpx.AsyncClient, name: str, password: str) -> int:
    answer = await client.post("/auth/login", json={"username": name, "password": password})
    return answer.status_code


async def test_a_new_password_replaces_the_old_one_and_ends_every_other_session(
    client: httpx.AsyncClient, name: str
) -> None:
    """ASVS 7.4.3."""
    here, there = await log_in(client, name), await log_in(client, name)
    answer = await change(client, here)
    assert (answer.status_code, answer.json()) == (200, {"success": True, "message": "Password changed"})
    assert await login_status(client, name, PASSWORD) == 401
    assert await login_status(client, name, NEW) == 200
    assert await is_over(client, there)
    assert not await is_over(client, here)


@pytest.mark.parametrize(
    ("current", "new", "status", "code"),
    [
        ("not the password", NEW, 401, "invalid_credentials"),
        (PASSWORD, "short", 400, "invalid_password"),
        (PASSWORD, "x" * 73, 400, "invalid_password"),
        (PASSWORD, "with\0nul-inside", 400, "invalid_password"),
        (PASSWORD, "", 400, "missing_field"),
        ("", NEW, 400, "missing_field"),
        (" " + PASSWORD, NEW, 401, "invalid_credentials"),
    ],
)
async def test_a_refused_change_changes_nothing(
    client: httpx.AsyncClient, name: str, current: str, new: str, status: int, code: str
) -> None:
    here, there = await log_in(client, name), await log_in(client, name)
    answer = await change(client, here, current, new)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await login_status(client, name, PASSWORD) == 200
    assert not await is_over(client, there)


async def test_the_body_of_a_change_must_hold_both_passwords(client: httpx.AsyncClient, tokens: Pair) -> None:
    answer = await client.put("/auth/password", json={"currentPassword": 1}, headers=bearer(tokens["token"]))
    assert answer.status_code == 400
    expected = "The body must have currentPassword and newPassword as text that is not empty."
    assert answer.json() == {"error": expected, "code": "missing_field"}


async def test_of_two_changes_at_once_one_holds_and_the_other_is_refused(client: httpx.AsyncClient, name: str) -> None:
    pair = await log_in(client, name)
    news = [f"{NEW} {number}" for number in range(4)]
    answers = await asyncio.gather(*(change(client, pair, new=new) for new in news))
    assert Counter(answer.status_code for answer in answers) == {200: 1, 401: 3}
    [new] = [new for new, answer in zip(news, answers, strict=True) if answer.status_code == 200]
    assert await login_status(client, name, new) == 200


async def test_a_login_with_the_old_password_that_is_under_way_opens_no_session(
    start: StartClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """The password is changed between its comparison and the opening of the session, where the clock is asked."""
    name = new_name()
    changes: list[tuple[str]] = []

    def changing_clock() -> float:
        if not changes:
            sql.execute("select password_hash from users where username = %s", other)
            changes.extend(sql.fetchall())
            sql.execute("update users set password_hash = %s where username = %s", (changes[0][0], name))
        return time.time()

    other = new_name()
    async with start() as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        await client.post("/auth/signup", json={"username": other, "password": NEW})
    async with start(clock=changing_clock) as client:
        assert await login_status(client, name, PASSWORD) == 401
        sql.execute("select count(*) from refresh_tokens join users on users.id = user_id where username = %s", name)
        assert sql.fetchone() == (0,)
        assert await login_status(client, name, NEW) == 200


async def test_all_logins_succeed_while_one_of_them_renews_the_hash(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 38."""
    name = new_name()
    async with start(bcrypt_rounds=4) as client:
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
    async with start(bcrypt_rounds=5) as client:
        statuses = await asyncio.gather(*(login_status(client, name, PASSWORD) for _ in range(20)))
        assert Counter(statuses) == {200: 20}


@pytest.mark.parametrize("act", [change, delete])
async def test_a_right_password_is_right_while_a_login_renews_the_hash(
    start: StartClient, new_name: Callable[[], str], act: Callable[..., Awaitable[httpx.Response]]
) -> None:
    """The one thread renews for the login first, so the hash is another one when the change or deletion is stored."""
    body = {"username": new_name(), "password": PASSWORD}
    async with start() as cheap:
        assert (await cheap.post("/auth/signup", json=body)).status_code == 200
        pair = (await cheap.post("/auth/login", json=body)).json()
    async with start(bcrypt_rounds=10, hash_threads=1) as client:
        login, answer = await asyncio.gather(client.post("/auth/login", json=body), act(client, pair))
    assert (login.status_code, answer.status_code) == (200, 200)


async def test_a_deleted_account_takes_its_sessions_along_and_frees_its_name(
    client: httpx.AsyncClient, name: str
) -> None:
    """REQUIREMENTS 29."""
    here, there = await log_in(client, name), await log_in(client, name)
    answer = await delete(client, here)
    assert (answer.status_code, answer.json()) == (200, {"success": True, "message": "Account deleted"})
    assert await is_over(client, here)
    assert await is_over(client, there)
    assert await login_status(client, name, PASSWORD) == 401
    again = await client.post("/auth/signup", json={"username": name.upper(), "password": NEW})
    assert again.status_code == 200
    assert await is_over(client, here), "the tokens are of another user"
    pair = (await client.post("/auth/login", json={"username": name, "password": NEW})).json()
    assert len(await sessions_of(client, pair)) == 1


async def test_an_account_that_is_deleted_twice_at_once_is_deleted(
    client: httpx.AsyncClient, mariadb: LocalDatabase, name: str, sql: Cursor
) -> None:
    """Both have compared the password by then, and wait for the row."""
    pair = await log_in(client, name)
    sql.execute("begin")
    sql.execute("select 1 from users where username = %s for update", name)
    deletions = [asyncio.create_task(delete(client, pair)) for _ in range(2)]
    waiting = "show global status like 'Innodb_row_lock_current_waits'"
    async with asyncio.timeout(20):
        while (await asyncio.to_thread(ask_as_root, mariadb, waiting))[0][1] != "2":
            await asyncio.sleep(0.02)
        sql.execute("rollback")
        assert [answer.status_code for answer in await asyncio.gather(*deletions)] == [200, 200]
    assert await login_status(client, name, PASSWORD) == 401


async def test_a_wrong_password_deletes_nothing(client: httpx.AsyncClient, name: str) -> None:
    pair = await log_in(client, name)
    answer = await delete(client, pair, "not the password")
    assert (answer.status_code, answer.json()) == (401, {"error": "Wrong password.", "code": "invalid_credentials"})
    missing = await client.request("DELETE", "/auth/account", headers=bearer(pair["token"]))
    assert missing.status_code == 415
    assert not await is_over(client, pair)


async def test_logins_during_a_deletion_leave_no_session_behind(
    client: httpx.AsyncClient, new_name: Callable[[], str]
) -> None:
    """Each login either comes first, and its tokens die with the account, or is refused."""
    for _ in range(3):
        name = new_name()
        await client.post("/auth/signup", json={"username": name, "password": PASSWORD})
        pair = await log_in(client, name)
        body = {"username": name, "password": PASSWORD}
        logins = [client.post("/auth/login", json=body) for _ in range(6)]
        deleted, *answers = await asyncio.gather(delete(client, pair), *logins)
        assert deleted.status_code == 200
        assert {answer.status_code for answer in answers} <= {200, 401}
        for answer in answers:
            if answer.status_code == 200:
                assert await is_over(client, answer.json())
