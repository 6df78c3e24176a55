"""What stands behind a head or a body, and is neither: uvicorn's parser takes it for a request, or for headers.

Behind a head that offers another protocol (RFC 9110 §7.8), or CONNECT, it expects that protocol, and then takes what
comes for a request: behind a proxy that passes such a head on, a client could so add requests to those of others, and
read their answers. What stands behind a chunked body, its trailers (§6.5), it appends to the headers.
"""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from service.localdb import LocalDatabase
from tests.conftest import PASSWORD
from tests.server import Server, TracedServer

OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n"  # Java's HttpClient
)
JSON, CHUNKED = b"Content-Type: application/json\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: service\r\n\r\n"


async def answers(server: Server, head: bytes, behind: bytes, *, at_once: bool = False) -> bytes:
    """All that is answered to a head that offers, and to what is sent once its answer has begun, or `at_once`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(head + b"\r\nHost: service\r\n" + OFFER + b"Content-Length: %d\r\n\r\n" % len(behind))
        if at_once:
            writer.write(behind)
        first = await reader.readuntil(b"\r\n\r\n")
        if not at_once:
            writer.write(behind)
        try:
            return first + await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            return first
    finally:
        writer.close()


async def test_what_comes_behind_an_offer_is_never_a_request(server: Server, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 58: of one request there is one answer, and then the connection ends."""
    verify = b"GET /auth/verify HTTP/1.1\r\nAuthorization: Bearer " + tokens["token"].encode()
    for head, status in (
        (verify, b"200"),
        (b"GET /auth/verify HTTP/1.1", b"401"),
        (b"GET /livez HTTP/1.1", b"200"),
        (b"GET /nothing HTTP/1.1", b"404"),
        (b"POST /auth/login HTTP/1.1\r\nContent-Type: application/json", b"400"),
        (b"POST /auth/verify HTTP/1.1", b"405"),
        (b"POST /auth/login HTTP/1.1", b"415"),
        (b"CONNECT /auth/login HTTP/1.1", b"405"),
    ):
        seen = await answers(server, head, HIDDEN)
        assert re.findall(rb"HTTP/1\.1 (\d+)", seen) == [status], head
        assert b"\r\nconnection: close\r\n" in seen, head


@pytest.mark.parametrize(
    "framing", [b"Content-Length: %d\r\n\r\n%b", b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"]
)
async def test_a_body_behind_an_offer_is_refused_and_not_taken_for_none(
    framing: bytes, server: Server, client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    """Without its body, a logout of all other sessions would be one of all."""
    body = b'{"keepCurrent":true}'
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    bearer = b"Authorization: Bearer " + tokens["token"].encode() + b"\r\n"
    head = b"POST /auth/logoutall HTTP/1.1\r\nHost: service\r\n" + bearer + JSON + OFFER
    writer.write(head + framing % (len(body), body))
    seen = await reader.read()
    writer.close()
    head, _, content = seen.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(content) == {
        "error": "The body of a request with an Upgrade header is not read; send it without that header.",
        "code": "malformed_body",
    }
    refreshed = await client.post("/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
    assert refreshed.status_code == 200


async def test_the_other_parser_reads_a_body_behind_an_offer(mariadb: LocalDatabase, tmp_path: Path, name: str) -> None:
    """As the README says of UVICORN_HTTP=h11."""
    body = json.dumps({"username": name, "password": PASSWORD}).encode()
    head = b"POST /auth/login HTTP/1.1\r\nContent-Type: application/json"
    with Server(mariadb.url, tmp_path, UVICORN_HTTP="h11") as server:
        seen = await answers(server, head, body, at_once=True)
    assert re.findall(rb"HTTP/1\.1 (\d+)", seen) == [b"200"]


async def trailed(server: Server, trailer: bytes) -> tuple[bytes, bool]:
    """What is answered to a failed login with this trailer, and whether its connection has ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'{"username":"nobody-at-all","password":"guess guess"}'
    head = b"POST /auth/login HTTP/1.1\r\nHost: service\r\nX-Forwarded-For: 203.0.113.7\r\n" + JSON + CHUNKED
    try:
        writer.write(head + b"%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(body), body, trailer))
        answer = await reader.readuntil(b"}")
        writer.write(HIDDEN)
        try:
            more = await asyncio.wait_for(reader.read(9), 10)
        except ConnectionResetError:  # it was closed before it read what came now
            more = b""
        return answer, not more
    finally:
        writer.close()


async def test_trailers_are_no_headers(mariadb: LocalDatabase, tmp_path: Path) -> None:
    """REQUIREMENTS 64: behind those that a proxy has set, a client would say where it comes from."""
    with TracedServer(mariadb.url, tmp_path, TRUSTED_PROXIES="127.0.0.1") as server:
        answer, has_ended = await trailed(server, b"X-Forwarded-For: 198.51.100.1\r\nX-Request-ID: mine")
        assert (answer[:12], has_ended) == (b"HTTP/1.1 401", False)
        assert b"x-request-id: mine" not in answer
        await server.logs('"event":"login_failed"')
    assert "203.0.113.7" in server.log.read_text()
    assert "198.51.100.1" not in server.log.read_text()


async def test_a_trailer_that_ends_the_connection_ends_it(server: Server) -> None:
    """Else a proxy would give it to somebody else, whom nobody hears any more."""
    answer, has_ended = await trailed(server, b"Connection: close")
    assert (answer[:12], has_ended) == (b"HTTP/1.1 401", True)
