import asyncio
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from service import logs
from service.localdb import LocalDatabase
from tests import conftest
from tests.server import CLIENT_SECRET, ROOT, SECRET, Server, claims_of

PASSWORD = "the password of this test"
NEW_PASSWORD = "another password of this test"


async def run_everything(server: Server, name: str) -> list[str]:
    """The five endpoints, right and wrong; returns every token that went over the wire."""
    credentials = {"username": name, "password": PASSWORD}
    async with server.client() as client:
        await client.post("/auth/signup", json=credentials)
        await client.post("/auth/signup", json=credentials)
        await client.post("/auth/login", json={**credentials, "password": PASSWORD + "!"})
        pair = (await client.post("/auth/login", json=credentials)).json()
        access, refresh = pair["token"], pair["refreshToken"]
        for header in (f"Bearer {access}", f"Bearer {refresh}", f"Basic {access}", f"Bearer {access}x"):
            for more in ({}, {"X-Request-ID": "so-it-goes-the-long-way"}):
                await client.get("/auth/verify", headers={"Authorization": header, **more})
        await client.get(f"/auth/verify?token={access}")
        await client.get(f"/auth/{access}")
        await client.get(f"/auth/login?password={PASSWORD}")
        second = (await client.post("/auth/refresh", json={"refreshToken": refresh})).json()["refreshToken"]
        third = (await client.post("/auth/refresh", json={"refreshToken": second})).json()["refreshToken"]
        await client.post("/auth/refresh", json={"refreshToken": refresh})
        await client.post("/auth/logout", json={"refreshToken": third})
        await client.post(
            "/auth/logout", content=f'{{"refreshToken": "{third}"', headers={"Content-Type": "application/json"}
        )
    return [access, refresh, second, third]


async def run_the_rest(server: Server, name: str) -> list[str]:
    """What else a user may do, and whoever holds a token; returns every token that went over the wire."""
    tokens: list[str] = []
    async with server.client() as client:

        async def enter(password: str) -> dict[str, str]:
            pair = (await client.post("/auth/login", json={"username": name, "password": password})).json()
            tokens.extend([pair["token"], pair["refreshToken"]])
            return {"Authorization": f"Bearer {pair['token']}"}

        bearer = await enter(PASSWORD)
        await client.get("/auth/sessions", headers=bearer)
        await client.post("/auth/logoutall", headers=bearer, json={"keepCurrent": True})
        change = {"currentPassword": PASSWORD, "newPassword": NEW_PASSWORD}
        changes = [(await client.put("/auth/password", headers=bearer, json=change)).status_code for _ in range(2)]
        for secret in (CLIENT_SECRET, SECRET):
            await client.post("/auth/introspect", data={"token": tokens[0]}, auth=("gateway", secret))
        await client.post("/auth/revoke", data={"token": tokens[1]})
        bearer = await enter(NEW_PASSWORD)
        for password in (PASSWORD, NEW_PASSWORD):
            deleted = await client.request("DELETE", "/auth/account", headers=bearer, json={"password": password})
    assert (changes, deleted.status_code) == ([200, 401], 200)
    return tokens


@dataclass(frozen=True)
class Told:
    """The log of a service at a level, to which somebody of that name did everything, and the tokens of that."""

    name: str
    text: str
    tokens: list[str]


@pytest.fixture(scope="module")
def told(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    found = {}
    for level in ("DEBUG", "INFO"):
        with Server(mariadb.url, tmp_path_factory.mktemp(level), LOG_LEVEL=level) as server, asyncio.Runner() as runner:
            name = f"logged-at-{level.lower()}"
            tokens = [token for run in (run_everything, run_the_rest) for token in runner.run(run(server, name))]
        found[level] = Told(name, server.log.read_text(), tokens)
    return found


def lines_of(server: Server) -> list[dict[str, Any]]:
    return parsed(server.log.read_text())


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def requests_in(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "request"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_no_password_token_or_secret_gets_into_the_log(
    mariadb: LocalDatabase, told: dict[str, Told], level: str
) -> None:
    """REQUIREMENTS 62, 63: the log of a whole run, searched; a token also by its signature alone."""
    text = told[level].text
    assert "request" in text
    signatures = [token.rsplit(".", 1)[1] for token in told[level].tokens]
    for secret in [PASSWORD, NEW_PASSWORD, SECRET, CLIENT_SECRET, *told[level].tokens, *signatures]:
        assert secret not in text
    assert "$2b$" not in text
    assert "Traceback" not in text
    assert mariadb.url.split(":")[2].split("@")[0] not in text


def test_each_request_is_one_line_and_a_good_verify_only_at_debug(told: dict[str, Told]) -> None:
    counts = {}
    for level, of_level in told.items():
        lines = requests_in(parsed(of_level.text))
        counts[level] = len(lines)
        for line in lines:
            assert {"method", "path", "status", "ms", "client", "request_id", "time", "level"} <= set(line)
            assert isinstance(line["ms"], float)
            assert "?" not in line["path"]
        good = [line for line in lines if line["path"] == "/auth/verify" and line["status"] == 200]
        assert len(good) == (2 if level == "DEBUG" else 0)
    assert counts["DEBUG"] == counts["INFO"] + 2


def test_logins_and_reuse_are_events_with_the_id_of_their_request(told: dict[str, Told]) -> None:
    """REQUIREMENTS 30, 63."""
    lines = parsed(told["INFO"].text)
    by_event = {line["event"]: line for line in lines}
    for event in ("user_registered", "login_failed", "login_succeeded", "refresh_token_reused"):
        assert by_event[event]["username"] == told["INFO"].name
        same = [line for line in requests_in(lines) if line["request_id"] == by_event[event]["request_id"]]
        assert len(same) == 1
    assert [line["event"] for line in lines].count("login_failed") == 1
    assert [line["event"] for line in lines].count("login_succeeded") == 3


async def test_security_events_say_who_from_where_and_in_which_request(
    client: httpx.AsyncClient, server: Server, new_name: Callable[[], str]
) -> None:
    """REQUIREMENTS 63."""
    name = new_name()
    await client.post("/auth/signup", json={"username": name, "password": conftest.PASSWORD})

    async def log_in(password: str) -> tuple[str, dict[str, str]]:
        pair = (await client.post("/auth/login", json={"username": name, "password": password})).json()
        return pair["refreshToken"], {"Authorization": f"Bearer {pair['token']}"}

    refresh, _ = await log_in(conftest.PASSWORD)
    await client.post("/auth/logout", json={"refreshToken": refresh})
    _, bearer = await log_in(conftest.PASSWORD)
    other = claims_of((await log_in(conftest.PASSWORD))[0])["sid"]
    await client.delete(f"/auth/sessions/{other}", headers=bearer)
    await client.post("/auth/logoutall", headers=bearer, json={"keepCurrent": True})
    change = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
    await client.put("/auth/password", headers=bearer, json=change)
    await client.put("/auth/password", headers=bearer, json=change | {"currentPassword": conftest.PASSWORD})
    await client.request("DELETE", "/auth/account", headers=bearer, json={"password": PASSWORD})
    events = [line for line in lines_of(server) if line.get("username") == name]
    assert [line["event"] for line in events] == [
        "user_registered", "login_succeeded", "logged_out", "login_succeeded", "login_succeeded", "session_revoked",
        "sessions_revoked", "password_refused", "password_changed", "account_deleted",
    ]  # fmt: skip
    assert {line["client"] for line in events} == {"127.0.0.1"}
    assert len({line["request_id"] for line in events}) == len(events)


def test_every_event_is_named_for_the_operator() -> None:
    texts = [path.read_text() for path in (ROOT / "service").rglob("*.py")]
    events = {event for text in texts for event in re.findall(r"\blog\.[a-z]+\(\s*\"(\w+)\"", text)}
    assert len(events) > 20
    assert {event for event in events if f"`{event}`" not in (ROOT / "README.md").read_text()} == set()


async def test_a_client_that_leaves_amid_its_body_is_a_499(server: Server) -> None:
    """As nginx notes it: nothing that we answered."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nX-Request-ID: left\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: 1000\r\n\r\n{")
    await writer.drain()
    writer.close()
    async with asyncio.timeout(10):
        while not (found := [line for line in lines_of(server) if line.get("request_id") == "left"]):
            await asyncio.sleep(0.05)
    assert [line["status"] for line in found] == [499]


async def test_a_request_id_is_taken_over_when_it_is_well_formed(client: httpx.AsyncClient, server: Server) -> None:
    answer = await client.get("/auth/verify", headers={"X-Request-ID": "trace-1/span.2"})
    assert answer.headers["X-Request-ID"] == "trace-1/span.2"
    await server.logs('"request_id":"trace-1/span.2"')


async def test_control_characters_cannot_forge_a_line(client: httpx.AsyncClient, server: Server) -> None:
    """REQUIREMENTS 63."""
    forged = 'x"}\n{"event":"login_succeeded","username":"forged-one"}\r\n\x1b[31m'
    await client.post("/auth/login", json={"username": forged, "password": PASSWORD})
    await client.get("/auth/%0a%7b%22event%22%3a%22forged%22%7d")
    lines = lines_of(server)
    assert not any(line["event"] == "forged" or line.get("username") == "forged-one" for line in lines)
    assert any(line["event"] == "login_failed" and line["username"] == forged[:64] for line in lines)


async def test_what_a_terminal_obeys_or_a_reader_cannot_see_is_escaped(
    client: httpx.AsyncClient, server: Server
) -> None:
    """REQUIREMENTS 63: C1 controls, characters that turn text around, foreign ends of lines: as JSON escapes them."""
    hostile = "x\x9b2J\u202egnp\u2028\x7f\u200b\U000e0041"
    await client.post("/auth/login", json={"username": hostile, "password": PASSWORD})
    await client.get("/auth/%c2%9b2J%e2%80%ae", headers={"X-Request-ID": "hostile"})
    await server.logs('"request_id":"hostile"')
    text = server.log.read_text()
    assert not set(text) & set(hostile) - {"x", "2", "J", "g", "n", "p"}
    assert any(line.get("username") == hostile for line in lines_of(server))
    assert any(line.get("path") == "/auth/\x9b2J\u202e" for line in lines_of(server))


@pytest.mark.parametrize("layout", ["json", "console"])
async def test_a_name_that_the_locale_has_no_letters_for_is_in_the_log(
    mariadb: LocalDatabase, tmp_path: Path, layout: str
) -> None:
    """Else whoever guesses at such names would leave no trace."""
    with Server(mariadb.url, tmp_path, LOG_FORMAT=layout, PYTHONIOENCODING="latin-1") as server:
        async with server.client() as client:
            await client.post("/auth/login", json={"username": "日本語", "password": PASSWORD})
    [line] = [line for line in server.log.read_text("utf-8").splitlines() if "login_failed" in line]
    assert "日本語" in line
    assert "Traceback" not in server.log.read_text("utf-8")


async def test_on_a_console_a_line_is_an_event_with_its_members(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """REQUIREMENTS 63."""
    with Server(mariadb.url, tmp_path, LOG_FORMAT="console") as server:
        async with server.client(headers={"X-Request-ID": "trace-1"}) as client:
            for name in ("nobody", "two words", 'x"\nlogin_succeeded username=forged\x9b'):
                await client.post("/auth/login", json={"username": name, "password": PASSWORD})
    text = server.log.read_text()
    [plain, spaced, forged] = [line for line in text.splitlines() if " login_failed " in line]
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d INFO     login_failed username=nobody request_id=trace-1 client=127.0.0.1", plain
    )
    assert ' username="two words" ' in spaced
    assert r' username="x\"\nlogin_succeeded username=forged\u009b" ' in forged
    assert "login_succeeded" not in {line.split()[2] for line in text.splitlines()}
    assert "event" not in text


async def test_a_traceback_on_a_console_cannot_forge_a_line() -> None:
    error = ValueError("bad\n12:00:00 INFO     login_succeeded username=forged\x9b")
    record = logging.LogRecord("service", logging.ERROR, "", 0, "unhandled_error", (), (type(error), error, None))
    first, *others = logs.Console().format(record).split("\n")
    assert first.endswith("ERROR    unhandled_error")
    assert len(others) == 2
    assert all(line.startswith("    ") and line.isprintable() for line in others)


@pytest.mark.parametrize("layout", [logs.Json(), logs.Console()], ids=["json", "console"])
def test_what_is_no_unicode_does_not_lose_the_line(layout: logging.Formatter) -> None:
    """Such as the name of a file in another encoding, as keys_unusable may have to tell it."""
    record = logging.LogRecord("service", logging.ERROR, "", 0, "keys_unusable", (), None)
    record.reason = "/keys/\udcff.pem: it is not a key\x9b"
    line = layout.format(record)
    assert line.isprintable()
    assert r"/keys/\\udcff.pem: it is not a key\u009b" in line


@pytest.mark.parametrize("arguments", [(), ("--workers", "2")], ids=str)
async def test_the_lines_of_uvicorn_have_the_same_form(
    mariadb: LocalDatabase, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with Server(mariadb.url, tmp_path, *arguments, "--log-config", "service/logging.json") as server:
        await server.logs("Application startup complete", times=int(arguments[-1]) if arguments else 1)
    lines = server.log.read_text().splitlines()
    assert {"Application startup complete.", f"Uvicorn running on {server.url} (Press CTRL+C to quit)"} <= {
        json.loads(line)["event"] for line in lines
    }


async def test_the_level_holds_for_the_lines_of_the_server_too(mariadb: LocalDatabase, tmp_path: Path) -> None:
    with Server(mariadb.url, tmp_path, LOG_LEVEL="ERROR") as server:
        await run_everything(server, "hardly-logged")
    assert server.log.read_text() == ""


async def test_the_log_says_at_start_that_any_origin_may_call(
    start: conftest.StartClient, caplog: pytest.LogCaptureFixture
) -> None:
    """REQUIREMENTS 60."""
    for origin, warned in [("*", True), ("https://app.example", False)]:
        caplog.clear()
        async with start(cors_origins=(origin,)):
            assert ("cors_any_origin" in caplog.messages) == warned
