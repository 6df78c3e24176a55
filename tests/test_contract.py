"""The shape of every answer: what old clients and new ones may rely on."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from service import errors
from service.web import payload  # noqa: F401  # its errors belong to the tree
from service.web.errors import status_of
from tests.conftest import PASSWORD, StartClient


def every_error(kind: type[errors.AuthError] = errors.AuthError) -> Iterator[type[errors.AuthError]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from every_error(subclass)


@pytest.mark.parametrize("kind", list(every_error()))
def test_every_error_has_a_status_a_code_and_a_sentence(kind: type[errors.AuthError]) -> None:
    assert status_of(kind) in {400, 401, 404, 409, 429, 503}
    assert kind.code == kind.code.lower()
    assert kind.code.isidentifier()
    assert str(kind()).endswith(".")
    assert str(kind("Another sentence.")) == "Another sentence."


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in every_error()]
    assert len(codes) == len(set(codes))


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    drawn = [line.strip("│├└─ ").split()[0] for line in (errors.__doc__ or "").splitlines() if "─" in line]
    assert sorted(drawn) == sorted(kind.__name__ for kind in every_error() if kind.__module__ == errors.__name__)


async def test_a_client_of_the_older_service_works_unchanged(
    client: httpx.AsyncClient, new_name: Callable[[], str]
) -> None:
    """Sign up, log in, verify, refresh, go on with the first refresh token, log out, be refused."""
    credentials = {"username": new_name(), "password": PASSWORD}
    signup = await client.post("/auth/signup", json=credentials)
    assert (signup.status_code, signup.json()["success"]) == (200, True)
    login = await client.post("/auth/login", json=credentials)
    token, refresh_token = login.json()["token"], login.json()["refreshToken"]
    verify = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
    assert verify.json() == {"valid": True, "user": {"username": credentials["username"]}}
    for _ in range(3):
        renewed = await client.post("/auth/refresh", json={"refreshToken": refresh_token})
        token = renewed.json()["token"]
        verify = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
        assert verify.json()["valid"] is True
    logout = await client.post("/auth/logout", json={"refreshToken": refresh_token})
    assert (logout.status_code, logout.json()["success"]) == (200, True)
    refused = await client.post("/auth/refresh", json={"refreshToken": refresh_token})
    assert refused.status_code == 401
    assert refused.json()["error"]


async def test_every_answer_forbids_caching_and_sniffing(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str
) -> None:
    """REQUIREMENTS 57, 61."""
    answers = [
        await client.post("/auth/login", json={"username": name, "password": PASSWORD}),
        await client.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]}),
        await client.get("/auth/verify", headers={"Authorization": f"Bearer {tokens['token']}"}),
        await client.get("/auth/verify"),
        await client.get("/auth/nowhere"),
        await client.get("/auth/login"),
        await client.post("/auth/login", content="x"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 401, 404, 405, 415]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Type"] == "application/json"
    for answer in answers[3:]:
        assert {"error", "code"} <= set(answer.json())


async def test_a_bug_is_a_bare_500_that_a_browser_may_read(
    start: StartClient, tokens: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """REQUIREMENTS 62: one last resort; the details are in the log, under the id of the request."""

    def broken_clock() -> float:
        raise ZeroDivisionError("a detail that nobody should see")

    async with start(clock=broken_clock) as client:
        headers = {"Authorization": f"Bearer {tokens['token']}", "Origin": "https://app.example"}
        answer = await client.get("/auth/verify", headers=headers)
    assert answer.status_code == 500
    assert answer.json() == {"error": "Something went wrong; it has been logged.", "code": "internal_error"}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["X-Request-ID"]
    assert "a detail that nobody should see" in caplog.text
