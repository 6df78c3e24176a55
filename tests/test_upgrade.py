"""Requests that offer another protocol, which is not taken (RFC 9110 §7.8).

uvicorn's parser takes whatever comes behind such a head for that other protocol, and then for a request: behind a proxy
that passes the offer on, a client could so add requests to those of others, and read their answers.
"""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest

from service.localdb import LocalDatabase
from tests.conftest import PASSWORD
from tests.server import Server

OFFER = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n"  # Java's HttpClient
)
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
    json_ = b"Content-Type: application/json\r\n"
    head = b"POST /auth/logoutall HTTP/1.1\r\nHost: service\r\n" + bearer + json_ + OFFER
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
