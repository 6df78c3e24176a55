"""Whose address a request has, when proxies stand in front."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.localdb import LocalDatabase
from service.web.clients import Clients
from tests.conftest import PASSWORD
from tests.server import ROOT, Server

TRUSTED = [ip_network(text) for text in ("10.0.0.0/24", "2001:db8:1::/48")]


def found(peer: str | None, *lines: str) -> str | None:
    """The client of a request from `peer` with these X-Forwarded-For lines."""
    headers = [(b"host", b"service"), *((b"x-forwarded-for", line.encode("latin-1")) for line in lines)]
    return Clients(TRUSTED).address_of({"client": peer and (peer, 40000), "headers": headers})


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("::1", [], "::1"),
        ("::ffff:203.0.113.7", [], "203.0.113.7"),
        ("64:ff9b::203.0.113.7", [], "203.0.113.7"),
        ("64:ff9b:1::203.0.113.7", [], "64:ff9b:1::cb00:7107"),
        ("fe80::1%eth0", [], "fe80::1"),
        (None, [], None),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:10.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("2001:db8:1::5", ["2001:DB8:2::1"], "2001:db8:2::1"),
        ("10.0.0.1", ["203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["203.0.113.7", "10.0.0.3, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("10.0.0.1", ["[2001:db8:2::1]:4711"], "2001:db8:2::1"),
        ("10.0.0.1", ["[2001:db8:2::1]"], "2001:db8:2::1"),
        ("10.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
    ],
)
def test_the_client_is_the_last_one_that_no_proxy_of_ours_speaks_for(
    peer: str | None, lines: list[str], client: str | None
) -> None:
    """REQUIREMENTS 64."""
    assert found(peer, *lines) == client


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1, 10.0.0.1"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1", "203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", ["127.0.0.1, 203.0.113.7"], "203.0.113.7"),
        (None, ["198.51.100.1"], None),
    ],
)
def test_what_the_client_itself_says_is_not_believed(peer: str | None, lines: list[str], client: str | None) -> None:
    """REQUIREMENTS 64."""
    assert found(peer, *lines) == client


@pytest.mark.parametrize(
    "rubbish", ["unknown", "", " ", "é", "_hidden", "1.2.3", "1.2.3.4.5:80", "[::1", "[]:80", "1.2.3.4:", "a,b" * 5000]
)
def test_rubbish_ends_the_walk_at_the_last_address_that_was_good(rubbish: str) -> None:
    """REQUIREMENTS 64."""
    assert found("10.0.0.1", f"198.51.100.1, {rubbish}") == "10.0.0.1"
    assert found("10.0.0.1", f"198.51.100.1, {rubbish}, 10.0.0.2") == "10.0.0.2"


def opened_from(server: Server, name: str, said: str) -> dict[str, Any]:
    """The session of a login behind a proxy that says so."""
    with httpx.Client(base_url=server.url, timeout=30) as client:
        credentials = {"username": name, "password": PASSWORD}
        client.post("/auth/signup", json=credentials)
        pair = client.post("/auth/login", json=credentials, headers={"X-Forwarded-For": said}).json()
        listed = client.get("/auth/sessions", headers={"Authorization": f"Bearer {pair['token']}"})
        client.get("/auth/nowhere", headers={"X-Forwarded-For": said})
    session: dict[str, Any] = listed.json()["sessions"][0]
    return {**session, **pair}


async def test_sessions_and_log_show_the_client_behind_a_listed_proxy(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """REQUIREMENTS 64."""
    with Server(mariadb.url, tmp_path, TRUSTED_PROXIES="127.0.0.1, 10.0.0.0/8") as server:
        assert opened_from(server, "behind-a-proxy", "1.1.1.1, 203.0.113.7, 10.9.9.9")["ip"] == "203.0.113.7"
        await server.logs('"client":"203.0.113.7"', times=2)
        log = server.log.read_text()
    assert "forwarded_header_ignored" not in log
    assert "proxy_headers_twice" not in log


async def test_a_proxy_that_is_not_listed_is_told_once_and_not_by_a_verify_that_takes_the_short_way(
    mariadb: LocalDatabase, tmp_path: Path
) -> None:
    """REQUIREMENTS 64: verify takes no time for it."""
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    with Server(mariadb.url, tmp_path) as server:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            credentials = {"username": "in-a-hurry", "password": PASSWORD}
            client.post("/auth/signup", json=credentials)
            bearer = {"Authorization": f"Bearer {client.post('/auth/login', json=credentials).json()['token']}"}
            assert client.get("/auth/verify", headers=bearer | forwarded).status_code == 200
            assert "forwarded_header_ignored" not in server.log.read_text()
            client.get("/auth/verify", headers=forwarded)
            assert "forwarded_header_ignored" in server.log.read_text()
            session = opened_from(server, "beside-a-proxy", "203.0.113.7")
            assert session["ip"] == "127.0.0.1"
            assert server.log.read_text().count("forwarded_header_ignored") == 1
            client.get("/auth/nowhere", headers={"X-Forwarded-For": "203.0.113.8"})
        await server.logs("/auth/nowhere", times=2)
        log = server.log.read_text()
    assert log.count("forwarded_header_ignored") == 1
    assert "TRUSTED_PROXIES" in log
    assert "203.0.113" not in log


async def test_uvicorn_that_reads_the_header_too_is_noticed_once(mariadb: LocalDatabase, tmp_path: Path) -> None:
    with Server(mariadb.url, tmp_path, "--proxy-headers") as server:
        opened_from(server, "twice-forwarded", "203.0.113.7")
        await server.logs("/auth/nowhere")
        assert server.log.read_text().count("proxy_headers_twice") == 1


def test_uvicorn_is_kept_from_reading_the_header_wherever_we_start_it() -> None:
    """The servers of these tests by the line of the sample, which the tests above would miss."""
    assert "\nUVICORN_PROXY_HEADERS=false\n" in (ROOT / ".env.example").read_text()
    assert "\nEnvironment=UVICORN_PROXY_HEADERS=false\n" in (ROOT / "service/deploy/mstack-auth.service").read_text()
    assert "\nUVICORN_HTTP=service.protocol:HeadOnly\n" in (ROOT / ".env.example").read_text()
    unit = (ROOT / "service/deploy/mstack-auth.service").read_text()
    assert "\nEnvironment=UVICORN_HTTP=service.protocol:HeadOnly\n" in unit
    for path in ("Procfile", "service/dev.py", "bench/servers.py"):
        text = (ROOT / path).read_text()
        assert "--no-proxy-headers" in text, path
        assert re.search(r"--http\W+service\.protocol:HeadOnly", text), path
