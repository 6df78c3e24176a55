"""The gateways of `service/deploy`, as shipped: who is logged in reaches the app, under his name; nobody else does."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import httpx
import pytest

from service.localdb import LocalDatabase, free_port
from tests.conftest import PASSWORD
from tests.gateways import KINDS, Gateway, Requests, echoing_app, gateway
from tests.server import ISSUER, NO_TLS, Server, claims_of
from tests.test_verify import bearer

IDENTITY = ("remote-user", "x-auth-user-id", "x-auth-session")
# As an app behind CGI, or one in PHP, may spell them.
SPELLINGS = [*IDENTITY, "remote_user", "x_auth_user_id", "x_auth_session", "x-auth_session", "x-auth_user-id"]
SPELLINGS += ["remote.user", "x.auth.user.id", "x-auth.session", "x.auth-user.id"]


@pytest.fixture(scope="module")
def app() -> Iterator[tuple[int, Requests]]:
    with echoing_app() as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def guarded(
    kind: str, server: Server, app: tuple[int, Requests], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with gateway(kind, tmp_path_factory.mktemp("gateway") / kind, auth=server.port, app=app[0]) as running:
        yield running


@pytest.fixture(scope="module")
def other(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another process, which trusts what gateways say of the address."""
    with Server(
        mariadb.url, tmp_path_factory.mktemp("other"), TRUSTED_PROXIES="127.0.0.1", LOG_LEVEL="DEBUG"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that has not heard who has logged out."""
    nowhere = f"mysql://auth:x@127.0.0.1:{free_port()}/auth"
    with Server(nowhere, tmp_path_factory.mktemp("deaf"), REVOCATION_MAX_AGE="2s") as running:
        yield running


@pytest.fixture
def entered(guarded: Gateway, new_name: Callable[[], str]) -> dict[str, str]:
    """Name and tokens of somebody who signed up and logged in through the gateway."""
    with guarded.client() as client:
        return enter(client, f"zoë@{new_name()}")


@pytest.fixture
def untouched(app: tuple[int, Requests]) -> Iterator[None]:
    """Nothing reaches the app during the test."""
    before = len(app[1])
    yield
    assert app[1][before:] == []


def enter(client: httpx.Client, name: str) -> dict[str, str]:
    credentials = {"username": name, "password": PASSWORD}
    signup = client.post("/auth/signup", json=credentials)
    assert signup.status_code == 200, signup.text
    login = client.post("/auth/login", json=credentials)
    assert login.status_code == 200, login.text
    return {"name": name, **login.json()}


def identity(answer: httpx.Response) -> list[tuple[str, str]]:
    """The headers that say who it is, in any spelling, as they reached the app."""
    assert answer.status_code == 200, answer.text
    return [(name, value) for name, value in answer.json() if name in SPELLINGS]


def identity_of(token: str, name: str) -> list[tuple[str, str]]:
    claims = claims_of(token)
    assert unquote(name) != name
    return [("remote-user", name), ("x-auth-session", claims["sid"]), ("x-auth-user-id", claims["sub"])]


def test_the_app_is_told_who_it_is_and_never_sees_the_token(guarded: Gateway, entered: dict[str, str]) -> None:
    token = entered["token"]
    encoded = entered["name"].replace("ë", "%C3%AB")
    with guarded.client() as client:
        for answer in (client.get("/page", headers=bearer(token)), client.post("/", headers=bearer(token), json=[1])):
            assert sorted(identity(answer)) == identity_of(token, encoded)
            assert token not in answer.text
            assert "authorization" not in dict(answer.json())


def test_who_has_no_valid_token_is_refused_and_never_reaches_the_app(
    guarded: Gateway, entered: dict[str, str], untouched: None
) -> None:
    expired = ISSUER.issue_access(user_id="u", username="u", session_id="s", now=int(time.time()) - 301)
    headers = [
        {},
        {"Authorization": ""},
        {"Authorization": "Basic YTpi"},
        bearer(expired),
        bearer(entered["refreshToken"]),
        bearer(entered["token"] + "x"),
        {"Cookie": f"token={entered['token']}"},
        {"Remote-User": "admin", "X-Auth-User-Id": "1", "X-Auth-Session": "1"},
        {"X-Original-Method": "OPTIONS", "X-HTTP-Method-Override": "OPTIONS"},
    ]
    with guarded.client() as client:
        for each in headers:
            for method in ("GET", "POST", "HEAD", "OPTIONS"):
                answer = client.request(method, f"/page?token={entered['token']}", headers=each)
                assert answer.status_code == 401, (each, method)
                assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_two_tokens_are_no_token(guarded: Gateway, entered: dict[str, str], untouched: None) -> None:
    """REQUIREMENTS 59: also where the first one is valid."""
    valid, invalid = (("Authorization", f"Bearer {token}") for token in (entered["token"], "x"))
    with guarded.client() as client:
        for pair in ([valid, invalid], [invalid, valid], [valid, valid]):
            assert client.get("/", headers=pair).status_code in {400, 401}


def test_nobody_becomes_another_by_sending_the_headers_himself(guarded: Gateway, entered: dict[str, str]) -> None:
    """In any spelling that an app may take for them, once or twice, and listed as a header of the connection."""
    token = entered["token"]
    encoded = entered["name"].replace("ë", "%C3%AB")
    forged = [(name, f"admin-{number}") for name in SPELLINGS for number in range(2)]
    listed = [*forged, ("Connection", f"close, {', '.join(IDENTITY)}")]
    with guarded.client() as client:
        for headers in (forged, [(name.title(), value) for name, value in forged], listed):
            answer = client.get("/", headers=[*headers, *bearer(token).items()])
            if answer.status_code == 200:
                assert sorted(identity(answer)) == identity_of(token, encoded)
                assert "admin-" not in answer.text
            else:
                assert answer.status_code == 400, answer.text


def test_nobody_becomes_another_over_http_2_either(guarded: Gateway, entered: dict[str, str]) -> None:
    """Curl speaks it; and there is no Connection header to list others in."""
    token = entered["token"]
    headers = [*bearer(token).items(), *((name, "admin") for name in SPELLINGS)]
    options = [word for name, value in headers for word in ("-H", f"{name}: {value}")]
    command = ["curl", "-s", "--http2", "-w", "\n%{http_version}", "--cacert", str(guarded.ca), guarded.url, *options]
    body, version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert version == "2"
    found = [(name, value) for name, value in json.loads(body) if name in SPELLINGS]
    assert sorted(found) == identity_of(token, entered["name"].replace("ë", "%C3%AB"))


def test_the_address_of_a_client_is_what_the_gateway_saw(guarded: Gateway, entered: dict[str, str]) -> None:
    """What the client says of itself reaches neither the app nor the service."""
    lies = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "5.6.7.8"), ("Forwarded", "for=1.2.3.4")]
    lies += [("X_Forwarded_For", "1.2.3.4"), ("X.Forwarded.For", "1.2.3.4")]
    lies += [("X-Forwarded-Host", "evil.example"), ("X-Forwarded-Port", "6666")]
    credentials = {"username": entered["name"], "password": PASSWORD}
    with guarded.client() as client:
        answer = client.get("/", headers=[*lies, *bearer(entered["token"]).items()])
        addresses = [value for name, value in answer.json() if re.fullmatch(r"(x.)?forwarded(.for)?", name)]
        assert addresses == ["127.0.0.1"]
        assert "evil.example" not in answer.text
        assert "6666" not in answer.text
        token = client.post("/auth/login", json=credentials, headers=lies).json()["token"]
        sessions = client.get("/auth/sessions", headers=bearer(token)).json()["sessions"]
        assert {session["ip"] for session in sessions} == {"127.0.0.1"}


def test_the_service_is_told_the_address_that_the_gateway_saw(
    kind: str, other: Server, app: tuple[int, Requests], tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 64: by a gateway that it trusts, and on every path that is passed on to it."""
    lies = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7"}
    begin = len(other.log.read_text())
    with gateway(kind, tmp_path / kind, auth=other.port, app=app[0]) as running, running.client() as client:
        token = enter(client, new_name())["token"]
        for path in ("/page", "/auth/verify", "/auth/sessions", "/.well-known/jwks.json"):
            assert client.get(path, headers=lies | bearer(token)).status_code == 200
    log = other.log.read_text()[begin:]
    assert "/.well-known/jwks.json" in log
    assert "203.0.113.7" not in log


def test_what_is_too_large_is_refused_at_the_gateway(
    guarded: Gateway, entered: dict[str, str], untouched: None
) -> None:
    """REQUIREMENTS 55."""
    with guarded.client() as client:
        large = client.post("/auth/login", content=b" " * 20_000, headers={"Content-Type": "application/json"})
        assert large.status_code == 413
        assert "X-Request-ID" not in large.headers, "the service was asked"
        headers = bearer(entered["token"]) | {"X-Large": "x" * 30_000}
        assert client.get("/", headers=headers).status_code in {400, 431, 494}


def test_the_endpoints_are_reached_and_plain_http_is_sent_to_tls(guarded: Gateway, entered: dict[str, str]) -> None:
    with guarded.client() as client:
        verified = client.get("/auth/verify", headers=bearer(entered["token"]))
        assert verified.json() == {"valid": True, "user": {"username": entered["name"]}}
        assert client.get("/auth/nothing").json()["code"] == "not_found"
        assert client.get("/.well-known/jwks.json").json() == {"keys": []}
        hidden = client.get("/mstack-auth-verify", headers=bearer(entered["token"]))
        assert hidden.status_code == 404 or "x-auth-session" in dict(hidden.json()), "no way of its own to the service"
    plain = httpx.get(f"{guarded.plain_url}/auth/verify?x=1", follow_redirects=False)
    assert plain.status_code in {301, 308}
    assert plain.headers["Location"].startswith("https://localhost")
    assert plain.headers["Location"].endswith("/auth/verify?x=1")


def test_an_offer_of_another_protocol_reaches_neither_service_nor_app(
    guarded: Gateway, entered: dict[str, str]
) -> None:
    """Neither would read the body, on uvicorn: Java's HttpClient offers HTTP/2 wherever it was not told HTTP/1.1."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAAA"}
    with guarded.client() as client:
        answer = client.post("/auth/refresh", json={"refreshToken": entered["refreshToken"]}, headers=offer)
        assert answer.status_code == 200, answer.text
        answer = client.post("/", content=b"x", headers=offer | bearer(entered["token"]))
        assert "upgrade" not in dict(answer.json())


def test_nobody_gets_a_tunnel(guarded: Gateway, entered: dict[str, str], untouched: None) -> None:
    """What goes through one passes no gateway any more."""
    with guarded.client() as client:
        for target in ("localhost:443", "/page", "/auth/login"):
            request = client.build_request("CONNECT", "/", headers=bearer(entered["token"]))
            request.extensions["target"] = target.encode()
            with suppress(httpx.RemoteProtocolError):  # nginx ends the connection
                assert client.send(request).status_code in {400, 404, 405}


def test_what_stands_behind_a_body_names_nobody(guarded: Gateway, kind: str, entered: dict[str, str]) -> None:
    """Trailers, which an app on uvicorn takes for headers; HAProxy would pass them on, so it wants a length."""
    forged = "".join(f"{name}: admin\r\n" for name in IDENTITY).encode()
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {entered['token']}\r\n".encode()
    context = ssl.create_default_context(cafile=str(guarded.ca))
    with (
        socket.create_connection(("127.0.0.1", httpx.URL(guarded.url).port or 0), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n" + forged + b"\r\n")
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 411" if kind == "haproxy" else b"HTTP/1.1 200"), answer
    assert b"admin" not in answer
    with guarded.client() as client:  # as ever, and the auth endpoints take it too
        assert client.post("/", content=b"x", headers=bearer(entered["token"])).status_code == 200
        refresh = f'{{"refreshToken":"{entered["refreshToken"]}"}}'.encode()
        headers = {"Content-Type": "application/json"}
        assert client.post("/auth/refresh", content=iter([refresh]), headers=headers).status_code == 200


def test_an_error_of_the_app_is_the_apps_own(guarded: Gateway, entered: dict[str, str]) -> None:
    with guarded.client() as client:
        answer = client.get("/broken", headers=bearer(entered["token"]))
        assert answer.status_code == 500
        assert "remote-user" in dict(answer.json())


def test_a_session_that_ended_elsewhere_is_refused_within_the_interval(
    guarded: Gateway, entered: dict[str, str], other: Server
) -> None:
    """The logout goes to another process of the service than the one that the gateway asks."""
    with guarded.client() as client:
        assert client.get("/", headers=bearer(entered["token"])).status_code == 200
        logout = httpx.post(f"{other.url}/auth/logout", json={"refreshToken": entered["refreshToken"]})
        assert logout.status_code == 200
        ended = time.monotonic()
        while client.get("/", headers=bearer(entered["token"])).status_code == 200:
            assert time.monotonic() - ended < 3, "REVOCATION_INTERVAL is 1s"
        assert client.get("/", headers=bearer(entered["token"])).status_code == 401


def test_a_service_that_hangs_or_is_gone_lets_nobody_in(
    kind: str, app: tuple[int, Requests], mariadb: LocalDatabase, tmp_path: Path, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 66: refused in time, and over when the service is back."""
    with (
        Server(mariadb.url, tmp_path) as own,
        gateway(kind, tmp_path / kind, auth=own.port, app=app[0]) as guarded,
        guarded.client() as client,
    ):
        headers = bearer(enter(client, new_name())["token"])
        assert client.get("/", headers=headers).status_code == 200
        reached = len(app[1])
        os.kill(own.process.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            assert client.get("/", headers=headers).status_code in {500, 502, 503, 504}
            assert time.monotonic() - started < 8
        finally:
            os.kill(own.process.pid, signal.SIGCONT)
        assert client.get("/", headers={}).status_code == 401
        assert len(app[1]) == reached
        assert client.get("/", headers=headers).status_code == 200
        own.stop()
        assert client.get("/", headers=headers).status_code in {500, 502, 503, 504}
        assert len(app[1]) == reached + 1


def test_a_service_that_cannot_tell_lets_nobody_in(
    kind: str, deaf: Server, app: tuple[int, Requests], tmp_path: Path, untouched: None
) -> None:
    """REQUIREMENTS 66: verify answers 503 to a token that may be valid, since it has not heard who has logged out."""
    token = ISSUER.issue_access(user_id="u", username="u", session_id="s", now=int(time.time()))
    with gateway(kind, tmp_path / kind, auth=deaf.port, app=app[0]) as guarded, guarded.client() as client:
        deadline = time.monotonic() + 10
        while httpx.get(f"{deaf.url}/auth/verify", headers=bearer(token), verify=NO_TLS).status_code != 503:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert client.get("/", headers=bearer(token)).status_code in {500, 502, 503, 504}
        assert client.get("/").status_code == 401
        assert httpx.get(f"{deaf.url}/auth/verify", headers=bearer(token)).status_code == 503


def test_what_a_client_says_of_himself_does_not_stand_in_where_the_service_says_nothing(
    kind: str, app: tuple[int, Requests], tmp_path: Path
) -> None:
    """A 200 without the headers, as of a release before them: Caddy's copy_headers would leave the client's."""
    reached = len(app[1])
    with (
        echoing_app() as (silent, asked),
        gateway(kind, tmp_path / kind, auth=silent, app=app[0]) as guarded,
        guarded.client() as client,
    ):
        client.get("/", headers={**bearer("x"), **dict.fromkeys(SPELLINGS, "admin")})
        assert dict(asked[-1])["authorization"] == "Bearer x"
    assert not [name for headers in app[1][reached:] for name, _ in headers if name in SPELLINGS]
