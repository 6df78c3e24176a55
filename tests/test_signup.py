import unicodedata
from collections.abc import Callable

import httpx
import pytest
from pymysql.cursors import Cursor

from tests.conftest import PASSWORD, StartClient


async def test_signup_answers_as_the_contract_says(client: httpx.AsyncClient, new_name: Callable[[], str]) -> None:
    answer = await client.post("/auth/signup", json={"username": new_name(), "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json() == {"success": True, "message": "User registered successfully"}


async def test_a_name_is_taken_only_once(client: httpx.AsyncClient, name: str) -> None:
    """REQUIREMENTS 42: by contract a 409 tells that the name exists; the README says what that costs."""
    answer = await client.post("/auth/signup", json={"username": name, "password": "another password"})
    assert answer.status_code == 409
    assert answer.json() == {"error": "This username is taken.", "code": "username_taken"}
    login = await client.post("/auth/login", json={"username": name, "password": PASSWORD})
    assert login.status_code == 200


@pytest.mark.parametrize(
    "body", [{}, {"username": "x"}, {"password": PASSWORD}, {"username": "", "password": PASSWORD}]
)
async def test_a_missing_field_is_named(client: httpx.AsyncClient, body: dict[str, str]) -> None:
    answer = await client.post("/auth/signup", json=body)
    assert answer.status_code == 400
    expected = {"error": "The body must have username and password as text that is not empty.", "code": "missing_field"}
    assert answer.json() == expected


@pytest.mark.parametrize(
    "password",
    ["short77", "é" * 37, "x" * 73, "with\0nul-inside", "😀" * 19],
    ids=["7 characters", "74 bytes", "73 bytes", "NUL", "76 bytes of emoji"],
)
async def test_an_unacceptable_password_is_refused_and_never_cut(
    client: httpx.AsyncClient, new_name: Callable[[], str], password: str
) -> None:
    """REQUIREMENTS 33, 34, 35."""
    fresh = new_name()
    answer = await client.post("/auth/signup", json={"username": fresh, "password": password})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_password"
    again = await client.post("/auth/signup", json={"username": fresh, "password": PASSWORD})
    assert again.status_code == 200, "a refused signup must leave the name free"


@pytest.mark.parametrize(
    "password",
    [
        "12345678",
        "x" * 72,
        "é" * 36,
        "😀" * 18,
        "  spaces  ",
        "'; drop table users; --",
        '"\\\u2028\t\x7f and more',
        "e\u0301" * 8,
    ],
)
async def test_any_other_password_counts_in_full(
    start: StartClient, new_name: Callable[[], str], password: str
) -> None:
    """REQUIREMENTS 34, 35, 37: 72 bytes, spaces, quotes, controls, either normal form; nothing is trimmed or folded."""
    fresh = new_name()
    async with start() as client:
        answer = await client.post("/auth/signup", json={"username": fresh, "password": password})
        assert answer.status_code == 200, answer.text
        others = {password.strip(), password.swapcase(), unicodedata.normalize("NFC", password)} - {password}
        for wrong in (password[:-1], password + "x", *others):
            login = await client.post("/auth/login", json={"username": fresh, "password": wrong})
            assert login.status_code == 401, wrong
        login = await client.post("/auth/login", json={"username": fresh, "password": password})
        assert login.status_code == 200


async def test_a_password_of_the_blocklist_is_refused(start: StartClient, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 39."""
    async with start(password_blocklist=frozenset(["iloveyou123"])) as client:
        answer = await client.post("/auth/signup", json={"username": new_name(), "password": "iloveyou123"})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_password")
        answer = await client.post("/auth/signup", json={"username": new_name(), "password": "iloveyou124"})
        assert answer.status_code == 200


async def test_the_minimum_length_of_a_password_can_be_raised(start: StartClient, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 33."""
    async with start(password_min_length=15) as client:
        short = await client.post("/auth/signup", json={"username": new_name(), "password": "x" * 14})
        assert short.status_code == 400
        assert "15" in short.json()["error"]
        enough = await client.post("/auth/signup", json={"username": new_name(), "password": "x" * 15})
        assert enough.status_code == 200


async def test_a_password_is_stored_as_a_salted_hash_that_names_its_cost(
    client: httpx.AsyncClient, new_name: Callable[[], str], sql: Cursor
) -> None:
    """REQUIREMENTS 24, 38."""
    names = [new_name(), new_name()]
    for fresh in names:
        await client.post("/auth/signup", json={"username": fresh, "password": PASSWORD})
    sql.execute("select password_hash from users where username in %s", (names,))
    hashes = [row[0] for row in sql.fetchall()]
    assert len(set(hashes)) == 2
    assert all(stored.startswith("$2b$10$") and len(stored) == 60 for stored in hashes)


async def test_unknown_fields_are_ignored_and_end_up_nowhere(
    client: httpx.AsyncClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 56."""
    fresh = new_name()
    body = {"username": fresh, "password": PASSWORD, "role": "admin", "sub": "1", "id": 7, "exp": 9999999999}
    answer = await client.post("/auth/signup", json=body)
    assert answer.status_code == 200
    assert set(answer.json()) == {"success", "message"}
    login = await client.post("/auth/login", json=body)
    assert set(login.json()) == {"token", "refreshToken"}
