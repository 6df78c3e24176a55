import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.localdb import LocalDatabase
from tests.server import SECRET, Server

PASSWORD = "the password of this test"


async def run_everything(server: Server, name: str) -> list[str]:
    """Each endpoint, right and wrong; returns every secret that went over the wire."""
    credentials = {"username": name, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        await client.post("/auth/signup", json=credentials)
        await client.post("/auth/signup", json=credentials)
        await client.post("/auth/login", json={**credentials, "password": PASSWORD + "!"})
        pair = (await client.post("/auth/login", json=credentials)).json()
        access, refresh = pair["token"], pair["refreshToken"]
        for header in (f"Bearer {access}", f"Bearer {refresh}", f"Basic {access}", f"Bearer {access}x"):
            await client.get("/auth/verify", headers={"Authorization": header})
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


def lines_of(server: Server) -> list[dict[str, Any]]:
    return [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]


def requests_in(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "request"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
async def test_no_password_token_or_secret_gets_into_the_log(
    mariadb: LocalDatabase, tmp_path: Path, level: str
) -> None:
    """REQUIREMENTS 62, 63: the log of a whole run, searched; a token also by its signature alone."""
    with Server(mariadb.url, tmp_path, LOG_LEVEL=level) as server:
        tokens = await run_everything(server, f"logged-at-{level.lower()}")
    text = server.log.read_text()
    assert "request" in text
    for secret in [PASSWORD, SECRET, *tokens, *(token.rsplit(".", 1)[1] for token in tokens)]:
        assert secret not in text
    assert "$2b$" not in text
    assert "Traceback" not in text
    assert mariadb.url.split(":")[2].split("@")[0] not in text


async def test_each_request_is_one_line_and_a_good_verify_only_at_debug(mariadb: LocalDatabase, tmp_path: Path) -> None:
    counts = {}
    for level in ("INFO", "DEBUG"):
        (tmp_path / level).mkdir()
        with Server(mariadb.url, tmp_path / level, LOG_LEVEL=level) as server:
            await run_everything(server, f"counted-at-{level.lower()}")
        lines = requests_in(lines_of(server))
        counts[level] = len(lines)
        for line in lines:
            assert {"method", "path", "status", "ms", "client", "request_id", "time", "level"} <= set(line)
            assert isinstance(line["ms"], float)
            assert "?" not in line["path"]
        good = [line for line in lines if line["path"] == "/auth/verify" and line["status"] == 200]
        assert len(good) == (level == "DEBUG")
    assert counts["DEBUG"] == counts["INFO"] + 1


async def test_logins_and_reuse_are_events_with_the_id_of_their_request(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """REQUIREMENTS 30, 63."""
    with Server(mariadb.url, tmp_path) as server:
        await run_everything(server, "evented")
    lines = lines_of(server)
    by_event = {line["event"]: line for line in lines}
    for event in ("user_registered", "login_failed", "login_succeeded", "refresh_token_reused"):
        assert by_event[event]["username"] == "evented"
        same = [line for line in requests_in(lines) if line["request_id"] == by_event[event]["request_id"]]
        assert len(same) == 1
    assert [line["event"] for line in lines].count("login_failed") == 1
    assert [line["event"] for line in lines].count("login_succeeded") == 1


async def test_a_request_id_is_taken_over_when_it_is_well_formed(client: httpx.AsyncClient, server: Server) -> None:
    answer = await client.get("/auth/verify", headers={"X-Request-ID": "trace-1/span.2"})
    assert answer.headers["X-Request-ID"] == "trace-1/span.2"
    assert any(line.get("request_id") == "trace-1/span.2" for line in lines_of(server))
    for bad in ("", "two words", "x" * 129, "é", '"quoted"', "<b>"):
        answer = await client.get("/auth/verify", headers=[(b"X-Request-ID", bad.encode())])
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


async def test_control_characters_cannot_forge_a_line(client: httpx.AsyncClient, server: Server) -> None:
    """REQUIREMENTS 63."""
    forged = 'x"}\n{"event":"login_succeeded","username":"forged-one"}\r\n\x1b[31m'
    await client.post("/auth/login", json={"username": forged, "password": PASSWORD})
    await client.get("/auth/%0a%7b%22event%22%3a%22forged%22%7d")
    lines = lines_of(server)
    assert not any(line["event"] == "forged" or line.get("username") == "forged-one" for line in lines)
    assert any(line["event"] == "login_failed" and line["username"] == forged[:64] for line in lines)


async def test_the_level_holds_for_the_lines_of_the_server_too(mariadb: LocalDatabase, tmp_path: Path) -> None:
    with Server(mariadb.url, tmp_path, LOG_LEVEL="ERROR") as server:
        await run_everything(server, "hardly-logged")
    assert server.log.read_text() == ""


async def test_the_log_says_at_start_that_any_origin_may_call(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """REQUIREMENTS 60."""
    for origins, warned in [("*", True), ("https://app.example", False)]:
        folder = tmp_path / str(warned)
        folder.mkdir()
        with Server(mariadb.url, folder, CORS_ORIGINS=origins) as server:
            pass
        assert any(line["event"] == "cors_any_origin" for line in lines_of(server)) == warned
