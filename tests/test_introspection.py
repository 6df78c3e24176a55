"""`POST /auth/introspect` (RFC 7662): what other people's tokens are worth."""

import base64
import time
from collections.abc import Callable
from urllib.parse import quote_plus

import httpx
import pytest

from service.address import DatabaseAddress
from service.localdb import LocalDatabase
from tests.conftest import PASSWORD, StartClient
from tests.server import CLIENT_SECRET, ISSUER, claims_of
from tests.test_revoke import FORM, refresh, revoke
from tests.test_verify import bearer

INACTIVE = {"active": False}
CLIENT = ("gateway", CLIENT_SECRET)
SECRET = CLIENT_SECRET.encode()


async def introspect(client: httpx.AsyncClient, token: str, **more: str) -> object:
    answer = await client.post("/auth/introspect", data={"token": token, **more}, auth=CLIENT)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


def said_by(token: str) -> dict[str, object]:
    return {name: claim for name, claim in claims_of(token).items() if name not in {"type", "jti", "gen"}}


@pytest.mark.parametrize("hint", ["access_token", "refresh_token", "nonsense"])
async def test_a_live_token_is_active_and_says_what_it_is(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str, hint: str
) -> None:
    """RFC 7662 §2.1, §2.2: the hint may be wrong; a refresh token is told apart, and has no type of RFC 6749 §5.1."""
    access, refreshing = tokens["token"], tokens["refreshToken"]
    assert await introspect(client, access, token_type_hint=hint) == {
        "active": True, "token_use": "access_token", "token_type": "Bearer", **said_by(access),
    }  # fmt: skip
    assert await introspect(client, refreshing, token_type_hint=hint) == {
        "active": True, "token_use": "refresh_token", **said_by(refreshing),
    }  # fmt: skip
    assert said_by(access).keys() == {"sub", "username", "sid", "iat", "exp"}
    assert claims_of(access)["username"] == name


async def test_issuer_and_audience_are_named_where_they_are_set(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 16."""
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start(introspection_secret=SECRET, jwt_issuer="us", jwt_audience="them") as client:
        await client.post("/auth/signup", json=credentials)
        pair = (await client.post("/auth/login", json=credentials)).json()
        found = await introspect(client, pair["token"])
    assert isinstance(found, dict)
    assert (found["iss"], found["aud"]) == ("us", "them")


async def test_what_is_no_token_of_ours_is_inactive_and_nothing_else(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """RFC 7662 §2.2, REQUIREMENTS 1, 25: no reason is given."""
    access, refreshing = tokens["token"], tokens["refreshToken"]
    for token in ("nonsense", ".", "\0", "é", access[:-1], access + " ", refreshing + "x", refreshing.swapcase()):
        assert await introspect(client, token) == INACTIVE, token


async def test_an_ended_session_takes_both_tokens_along(
    client: httpx.AsyncClient, tokens: dict[str, str], name: str
) -> None:
    """REQUIREMENTS 23, 26: and no other session's."""
    other = (await client.post("/auth/login", json={"username": name, "password": PASSWORD})).json()
    await revoke(client, tokens["refreshToken"])
    for kind in ("token", "refreshToken"):
        assert await introspect(client, tokens[kind]) == INACTIVE
        assert await introspect(client, other[kind]) == {**said_by(other[kind]), "active": True} | (
            {"token_use": "access_token", "token_type": "Bearer"} if kind == "token" else {"token_use": "refresh_token"}
        )


async def test_a_refresh_token_is_active_as_long_as_a_refresh_would_accept_it(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """REQUIREMENTS 30: the one before the last still gives the last one again; asking uses nothing and ends nothing."""
    generations = [tokens["refreshToken"]]
    for expected in ([True], [True, True], [False, True, True], [False, False, True, True]):
        found = [await introspect(client, token) for token in generations]
        assert [isinstance(each, dict) and each["active"] for each in found] == expected
        generations.append((await refresh(client, generations[-1])).json()["refreshToken"])
    assert (await refresh(client, generations[-1])).status_code == 200


async def test_a_refresh_token_that_is_ahead_of_its_session_or_another_users_is_inactive(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """As where the database was restored from a backup."""
    claims = claims_of(tokens["refreshToken"])
    for user, generation, is_active in (
        (claims["sub"], 0, True),
        (claims["sub"], 1, False),
        ("01920a7e-4f00-7d1a-b3a4-0d6f6c2a9b11", 0, False),
    ):
        token = ISSUER.issue_refresh(
            user_id=user,
            username=claims["username"],
            session_id=claims["sid"],
            generation=generation,
            issued_at=claims["iat"],
            expires_at=claims["exp"],
        )
        found = await introspect(client, token)
        assert isinstance(found, dict)
        assert found["active"] is is_active


async def test_a_token_is_inactive_from_its_expiry_on(start: StartClient, new_name: Callable[[], str]) -> None:
    """REQUIREMENTS 13: to the second, as verify and refresh have it."""
    credentials = {"username": new_name(), "password": PASSWORD}
    now = [time.time()]
    async with start(clock=lambda: now[0], introspection_secret=SECRET) as client:
        await client.post("/auth/signup", json=credentials)
        pair = (await client.post("/auth/login", json=credentials)).json()
        for kind in ("token", "refreshToken"):
            expiry = claims_of(pair[kind])["exp"]
            for moment, is_active in ((expiry - 1, True), (expiry, False)):
                now[0] = moment
                found = await introspect(client, pair[kind])
                assert isinstance(found, dict)
                assert found["active"] is is_active, (kind, moment)


async def test_a_session_older_than_the_greatest_age_is_over_also_where_that_was_lowered(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """To refresh, to introspection and in the list; the one that was refused must not have been called active."""
    credentials = {"username": new_name(), "password": PASSWORD}
    login_at = int(time.time())
    now = [login_at]
    changed = {"introspection_secret": SECRET, "session_max_age": 3600}
    async with start(clock=lambda: now[0]) as before, start(clock=lambda: now[0], **changed) as client:
        await before.post("/auth/signup", json=credentials)
        early = (await before.post("/auth/login", json=credentials)).json()["refreshToken"]
        now[0] = login_at + 1
        live = (await refresh(before, early)).json()["refreshToken"]
        for age, is_active in ((3599, True), (3600, False)):
            now[0] = login_at + age
            for token in (early, live):
                found = await introspect(client, token)
                assert isinstance(found, dict)
                assert found["active"] is is_active
            other = (await client.post("/auth/login", json=credentials)).json()["token"]
            listed = (await client.get("/auth/sessions", headers=bearer(other))).json()["sessions"]
            assert (claims_of(early)["sid"] in {session["id"] for session in listed}) is is_active
        for token in (early, live):
            assert (await refresh(client, token)).status_code == 401


def basic(credentials: str | bytes) -> str:
    raw = credentials.encode() if isinstance(credentials, str) else credentials
    return "Basic " + base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "header",
    [
        basic(f"gateway:{CLIENT_SECRET}"),
        basic(f":{CLIENT_SECRET}"),
        basic(f"gateway:{quote_plus(CLIENT_SECRET).replace('~', '%7E')}"),
        basic(f"gateway:{CLIENT_SECRET}").replace("Basic", "bAsIc"),
        basic("é:".encode() + SECRET),
    ],
)
async def test_any_client_name_will_do_with_the_secret_encoded_or_not(client: httpx.AsyncClient, header: str) -> None:
    """RFC 6749 §2.3.1, RFC 7617, REQUIREMENTS 59: the scheme is written in either case."""
    headers = {**FORM, "Authorization": header}
    assert (await client.post("/auth/introspect", content=b"token=x", headers=headers)).json() == INACTIVE


@pytest.mark.parametrize(
    "header",
    [
        None, "", "Basic", f"Bearer {CLIENT_SECRET}", f"Basic {CLIENT_SECRET}", basic("gateway"),
        basic(CLIENT_SECRET), basic("gateway:"), basic(f"gateway:{CLIENT_SECRET[:-1]}"),
        basic(f"gateway:{CLIENT_SECRET} "), basic(f"gateway:{CLIENT_SECRET.upper()}"), basic(b"gateway:\xff"),
        basic(f"gateway:x:{CLIENT_SECRET}"), basic("gateway:%"), "Basic ====", "Basic é",
    ],
)  # fmt: skip
async def test_a_client_without_the_secret_is_refused_before_anything_is_read(
    client: httpx.AsyncClient, tokens: dict[str, str], header: str | None
) -> None:
    """RFC 7662 §2.1, §2.3: against those who try tokens out."""
    for content in (f"token={tokens['token']}".encode(), b"nonsense"):
        headers = [(b"Content-Type", FORM["Content-Type"].encode())]
        headers += [(b"Authorization", header.encode("latin-1"))] if header is not None else []
        answer = await client.post("/auth/introspect", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client")
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="introspection"'


async def test_two_authorization_headers_are_refused(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 59."""
    true = basic(f"gateway:{CLIENT_SECRET}")
    for pair in ((true, true), (true, "Bearer x"), ("", true)):
        headers = [("Content-Type", FORM["Content-Type"]), *(("Authorization", header) for header in pair)]
        answer = await client.post("/auth/introspect", content=b"token=x", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    ("body", "code"), [(b"", "missing_field"), (b"token=", "missing_field"), (b"token=x&token=y", "malformed_body")]
)
async def test_a_form_without_one_token_is_a_400(client: httpx.AsyncClient, body: bytes, code: str) -> None:
    answer = await client.post("/auth/introspect", content=body, headers=FORM, auth=CLIENT)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_it_is_not_there_unless_a_secret_is_set(start: StartClient) -> None:
    async with start() as client:
        client.event_hooks = {}  # the document of these tests has it
        for header in ("", basic(f"gateway:{CLIENT_SECRET}")):
            answer = await client.post("/auth/introspect", data={"token": "x"}, headers={"Authorization": header})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_without_a_database_access_tokens_are_judged_and_refresh_tokens_are_a_503(
    own_mariadb: LocalDatabase, start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 66: nothing fails open, and nobody is told that a token is dead which may be alive."""
    credentials = {"username": new_name(), "password": PASSWORD}
    address = DatabaseAddress.from_url(own_mariadb.url)
    async with start(database=address, database_timeout=1, introspection_secret=SECRET) as client:
        await client.post("/auth/signup", json=credentials)
        pair = (await client.post("/auth/login", json=credentials)).json()
        own_mariadb.kill()
        assert await introspect(client, pair["token"]) != INACTIVE
        assert await introspect(client, "nonsense") == INACTIVE
        for path in ("/auth/introspect", "/auth/revoke"):
            answer = await client.post(path, data={"token": pair["refreshToken"]}, auth=CLIENT)
            assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"] == "1"


async def test_it_says_nothing_of_access_tokens_while_the_revocations_are_too_old(
    start: StartClient, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 66: as verify. No revocation is ever fresh enough here."""
    credentials = {"username": new_name(), "password": PASSWORD}
    async with start(introspection_secret=SECRET, revocation_max_age=0) as client:
        await client.post("/auth/signup", json=credentials)
        pair = (await client.post("/auth/login", json=credentials)).json()
        answer = await client.post("/auth/introspect", data={"token": pair["token"]}, auth=CLIENT)
        assert (answer.status_code, answer.json()["code"]) == (503, "revocations_stale")
        assert await introspect(client, pair["refreshToken"]) != INACTIVE
