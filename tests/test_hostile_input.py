"""Whatever is sent, each answer is the one that the contract names, in the one shape, and gives nothing away."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql.cursors import Cursor

from service.localdb import LocalDatabase
from service.ratelimits import RateLimits
from service.web import payload
from tests.conftest import PASSWORD, StartClient
from tests.server import NO_TLS, Server, claims_of

JSON = {"Content-Type": "application/json"}
LIMIT = 16 * 1024
FOREIGN = "https://evil.example"
# Well-formed bodies that are read and then refused, with no effect and, but for the login, no hashing.
READ = {
    "/auth/signup": (b'{"username":"no name","password":"short"', 400, "invalid_username"),
    "/auth/login": (b'{"username":"no name","password":"whatever else"', 401, "invalid_credentials"),
    "/auth/refresh": (b'{"refreshToken":"nonsense"', 401, "invalid_token"),
    "/auth/logout": (b'{"refreshToken":"nonsense"', 401, "invalid_token"),
}
PATHS = list(READ)
CODES = {
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "content_too_large",  # RFC 9110's name; Python called it otherwise before 3.13
    415: "unsupported_media_type",
}
# What would tell how this is made: tracebacks, statements, modules, paths, drivers, parsers.
INSIDE = re.compile(
    r'Traceback|File "|line \d|\.py\b|\bservice\.|/\w+/|\wError\b|Exception|(?i:\b(select|insert|update|delete) )'
    r"|(?i:mysql|maria|msgspec|jose|starlette|uvicorn|bcrypt)"
)


def refused(answer: httpx.Response, status: int, code: str | None = None) -> None:
    """Each refusal is {"error", "code"} in JSON, with the headers of every answer and nothing of the inside."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Type"] == "application/json"
    assert ("WWW-Authenticate" in answer.headers) is (status == 401)
    assert ("Retry-After" in answer.headers) is (status in {429, 503})
    if answer.request.method == "HEAD":
        assert answer.content == b""
        return
    body = answer.json()
    assert set(body) - {"valid"} == {"error", "code"}
    assert body["code"] == (code or CODES.get(status, body["code"]))
    assert re.fullmatch(r"[A-Z].*\.", body["error"])
    assert not INSIDE.search(answer.text), answer.text


def read(answer: httpx.Response, path: str) -> None:
    """The body reached its use case."""
    refused(answer, *READ[path][1:])


async def post(client: httpx.AsyncClient, path: str, content: Any, **headers: str) -> httpx.Response:
    return await client.post(path, content=content, headers={**JSON, **headers})


async def raw(server: Server, head: bytes, connection: bytes = b"close") -> httpx.Response:
    """What is answered to these very bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        writer.write(head + b"\r\nHost: service\r\nConnection: " + connection + b"\r\n\r\n")
        start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        request = httpx.Request(head.split()[0].decode(), server.url)
        length = int(dict(fields)["content-length"])
        # Who leaves the connection open has no end to wait for.
        content = await (reader.read() if connection == b"close" else reader.readexactly(length))
        return httpx.Response(int(start.split()[1]), headers=fields, content=content, request=request)
    finally:
        writer.close()


def malformed(begun: bytes) -> Iterator[bytes]:
    """Bodies that are no JSON object in UTF-8, most of them out of one that only wants its closing brace."""
    yield from (b"", b" ", b"NaN", b"Infinity", b"\0", b"{", b"'{}'", b"<xml/>", b"a=b&c=d", b'{"a":' * 3000)
    whole = begun + b"}"
    yield from (begun, whole.replace(b'"', b"'"), b"\xef\xbb\xbf" + whole)
    yield from (begun + end for end in (b",}", b"}}", b"}x", b"} {}", b"}\0", b"/**/}", b",x:1}", b',"x"}', b',"x":}'))
    yield from (whole.decode().encode(encoding) for encoding in ("utf-16", "utf-16-le", "utf-32"))
    bad_text = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\0", b"\n", b"\\q", b"\\u12"]
    bad_text += [b"\\ud800", b"\\udfff", b"\\udc00\\ud800", b"\\ud83d\\ud83d"]  # lone surrogates
    for text in bad_text:
        yield whole.replace(b':"', b':"' + text)
        yield begun + b',"x":"' + text + b'"}'
        yield begun + b',"' + text + b'":1}'
    for value in (b"NaN", b"-Infinity", b"01", b"+1", b".5", b"0x1", b"tru", b"[1,]", b"[" * 10_000):
        yield begun + b',"x":' + value + b"}"
    yield begun + b',"x":' + b"[" * 8_000 + b"]" * 8_000 + b"}"
    yield begun + b',"x":' + b'{"a":' * 2_500 + b"1" + b"}" * 2_501


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_not_a_json_object_in_utf_8_is_a_400(client: httpx.AsyncClient, path: str) -> None:
    """REQUIREMENTS 36, 53: also where nobody reads the value."""
    for body in malformed(READ[path][0]):
        refused(await post(client, path, body), 400, "malformed_body")


@pytest.mark.parametrize("path", PATHS)
async def test_what_is_not_text_is_a_400(client: httpx.AsyncClient, path: str) -> None:
    """REQUIREMENTS 53."""
    begun = READ[path][0]
    for body in (
        b"[]",
        b"null",
        b"true",
        b"0",
        b'"x"',
        b"{}",
        b"[" + begun + b"}]",
        b'{"USERNAME":"x"}',
        b"[" * 10_000,
    ):
        refused(await post(client, path, body), 400, "missing_field")
    values = [b"0", b"1", b"true", b"false", b"null", b"[]", b'["x"]', b"{}", b'{"$ne":""}', b"1.5", b"1e400", b'""']
    for value in [*values, b"9" * 5000, b"[" * 300 + b"]" * 300]:
        for member in re.findall(b'"[^"]*":"[^"]*"', begun):
            body = begun.replace(member, member.split(b":")[0] + b":" + value)
            refused(await post(client, path, body + b"}"), 400, "missing_field")


async def test_zero_and_true_are_nobodys_name_or_password(client: httpx.AsyncClient, name: str) -> None:
    """REQUIREMENTS 52, 53: MySQL finds every name with `where username = 0`."""
    values: list[object] = [0, 1, True, False, None, [], {}, 0.0]
    for value in values:
        refused(await client.post("/auth/login", json={"username": value, "password": PASSWORD}), 400)
        refused(await client.post("/auth/login", json={"username": name, "password": value}), 400)
    for text in ("0", "1", "true", "null"):
        refused(await client.post("/auth/login", json={"username": text, "password": PASSWORD}), 401)
        refused(await client.post("/auth/login", json={"username": name, "password": text}), 401)


@pytest.mark.parametrize("path", PATHS)
async def test_unknown_members_are_ignored_whatever_they_are(client: httpx.AsyncClient, path: str) -> None:
    """REQUIREMENTS 56."""
    values = [
        b"9" * 5000,
        b"-" + b"9" * 5000,
        b"1e999",
        b"[" * 300 + b"]" * 300,
        b'"\\ud83d\\ude00"',
        b"null",
        b'{"a":1,"a":2}',
    ]
    for member in [
        *(b'"x":' + value for value in values),
        b'"__proto__":{"a":1}',
        b'"x":1,"x":2',
        b'"":0',
        b'"a\\u0000":""',
    ]:
        read(await post(client, path, READ[path][0] + b"," + member + b"}"), path)


async def test_of_duplicate_members_the_last_one_counts(client: httpx.AsyncClient, name: str) -> None:
    """REQUIREMENTS 18, 53: also when one of them is spelt with an escape."""
    right, wrong = f'"username":"{name}"', f'"user\\u006eame":"nobody-{name}"'
    for members, status in [((wrong, right), 200), ((right, wrong), 401), ((right, '"username":0'), 400)]:
        answer = await post(client, "/auth/login", f'{{{",".join(members)},"password":"{PASSWORD}"}}')
        assert answer.status_code == status


async def chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 5000):
        yield content[start : start + 5000]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("is_chunked", [False, True], ids=["Content-Length", "chunked"])
async def test_a_body_of_16_kib_is_read_and_one_byte_more_is_a_413(
    client: httpx.AsyncClient, path: str, is_chunked: bool
) -> None:
    """REQUIREMENTS 55."""
    begun = READ[path][0]
    for whole in ((begun + b"}").ljust(LIMIT), (begun + b',"x":"').ljust(LIMIT - 2, b"x") + b'"}'):
        read(await post(client, path, chunks(whole) if is_chunked else whole), path)
        longer = whole + b" "
        refused(await post(client, path, chunks(longer) if is_chunked else longer), 413)


def resident(server: Server) -> int:
    """KiB of memory that the service holds."""
    return int(re.findall(r"VmRSS:\s+(\d+)", Path(f"/proc/{server.process.pid}/status").read_text())[0])


@pytest.mark.parametrize("is_chunked", [False, True], ids=["Content-Length", "chunked"])
async def test_a_body_of_20_megabytes_costs_no_memory(
    client: httpx.AsyncClient, server: Server, is_chunked: bool
) -> None:
    """REQUIREMENTS 55: its sender goes on after the answer, as rude ones do."""
    size, piece = 20_000_000, b"x" * 100_000
    await client.get("/auth/verify")
    before, peak = resident(server), 0
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    length = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % size
    writer.write(b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n")
    for _ in range(size // len(piece)):
        writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if is_chunked else piece)
        await writer.drain()
        peak = max(peak, resident(server))
    assert b" 413 " in await reader.readuntil(b"\r\n")
    writer.close()
    assert peak - before < 5_000
    assert (await client.get("/auth/verify")).status_code == 401, "and others are served"


@pytest.mark.parametrize("path", PATHS)
async def test_another_content_type_is_a_415(client: httpx.AsyncClient, path: str) -> None:
    """REQUIREMENTS 54: those that a foreign page may send without asking first above all."""
    body = READ[path][0] + b"}"
    for text in (
        "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/json", "json",
        "application/jsonp", "application/json-patch+json", "application /json", "application/json, text/plain", "*/*",
        "text/plain; application/json", "text/plain, application/json", "application/json\u00e9", "application", ";",
    ):  # fmt: skip
        refused(await client.post(path, content=body, headers=[(b"Content-Type", text.encode("latin-1"))]), 415)
    refused(await client.post(path, content=body), 415)
    for other in ("application/json", "text/plain"):
        twice = [("Content-Type", "application/json"), ("Content-Type", other)]
        refused(await client.post(path, content=body, headers=twice), 415)
    for text in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/json ;charset=UTF-8"):
        read(await client.post(path, content=body, headers={"Content-Type": text}), path)


async def test_the_authorization_header_is_one_bearer_token(client: httpx.AsyncClient, tokens: dict[str, str]) -> None:
    """REQUIREMENTS 58, 59."""
    token = tokens["token"]
    for header in (f"Bearer {token}", f"bearer {token}", f"BEARER {token}", f"bEaReR   {token}"):
        answer = await client.get("/auth/verify", headers={"Authorization": header})
        assert (answer.status_code, answer.json()["valid"]) == (200, True), header
    missing = ["", "Bearer", "bearer", "Basic dTpw", f"Basic {token}", f"Token {token}", f'"Bearer" {token}', token]
    for header in [*missing, *(f"Bearer{separator}{token}" for separator in (":", "=", ",", "\t", ""))]:
        answer = await client.get("/auth/verify", headers={"Authorization": header})
        refused(answer, 401, "missing_token")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
    wrong = [f"{token}, Bearer {token}", f"{token} {token}", f"Bearer {token}", f'"{token}"', f"{token},", f"\t{token}"]
    for header in [f"Bearer {text}" for text in (*wrong, f"token={token}", ".", "null")]:
        answer = await client.get("/auth/verify", headers={"Authorization": header})
        refused(answer, 401, "invalid_token")
        assert answer.json()["valid"] is False
        assert answer.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    for other in (f"Bearer {token}", "Basic dTpw", "", "Bearer"):
        for pair in ((f"Bearer {token}", other), (other, f"Bearer {token}")):
            answer = await client.get("/auth/verify", headers=[("Authorization", header) for header in pair])
            refused(answer, 401, "invalid_token")


UNKNOWN_PATHS = """
    / // /auth /auth/ /auth/verify/ //auth/verify /auth//verify /auth/./verify /auth/x/../verify /auth/../auth/verify
    /auth/%2e%2e/auth/verify /..%2fauth/verify /AUTH/verify /auth/Verify /auth/verify%20 /auth/verify%00 /auth/verify;x
    /auth/verify%0d%0aX:1 /auth/verify.json /auth/verify%3f /auth%5cverify /auth/%u0076erify /auth/verify%ZZ /%ff%fe
    /%c0%ae%c0%ae/ /.env /.git/config /docs /metrics /auth/users /auth/verify/../login /..%2f..%2fetc/passwd
"""


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_a_404_in_json(server: Server, method: str) -> None:
    """REQUIREMENTS 61, 62: as it was sent, which a browser or httpx would tidy up."""
    for path in [*UNKNOWN_PATHS.split(), "/" + "x" * 20_000, "/" + "a/" * 5_000]:
        refused(await raw(server, f"{method} {path} HTTP/1.1".encode()), 404)
    refused(await raw(server, f"{method} * HTTP/1.1".encode()), 404)


async def test_a_path_with_a_line_end_is_another_path(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 61: a proxy that limits `/auth/login` knows nothing of it; to a `$` in a pattern it is the same."""
    for path in (*PATHS, "/auth/verify", "/auth/sessions", "/.well-known/jwks.json"):
        for end in ("%0A", "%0D%0A", "%0A%0A"):
            refused(await client.get(path + end), 404)
            refused(await post(client, path + end, b"{}"), 404)


@pytest.mark.parametrize("path", [*PATHS, "/auth/verify"])
async def test_another_method_is_a_405_that_names_the_right_one(client: httpx.AsyncClient, path: str) -> None:
    """REQUIREMENTS 61."""
    allowed = {"GET", "HEAD"} if path == "/auth/verify" else {"POST"}
    for method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} - allowed:
        answer = await client.request(method, path, headers={"X-HTTP-Method-Override": min(allowed)})
        refused(answer, 405)
        assert set(answer.headers["Allow"].split(", ")) == allowed


async def test_white_space_around_a_header_is_no_part_of_it(server: Server, tokens: dict[str, str]) -> None:
    """RFC 9110 §5.5; uvicorn leaves what is behind it."""
    for written in (f"Bearer {tokens['token']} ", f" \tBearer {tokens['token']}\t "):
        answer = await raw(server, f"GET /auth/verify HTTP/1.1\r\nAuthorization:{written}".encode())
        assert answer.status_code == 200
    refused(await raw(server, b"GET /auth/verify HTTP/1.1\r\nAuthorization: Bearer  "), 401, "missing_token")
    marked = await raw(server, b"GET /auth/verify HTTP/1.1\r\nX-Request-ID: mine \t")
    assert marked.headers["X-Request-ID"] == "mine"


async def test_head_on_verify_answers_as_get_without_the_body(
    client: httpx.AsyncClient, tokens: dict[str, str]
) -> None:
    refused(await client.head("/auth/verify"), 401)
    answer = await client.head("/auth/verify", headers={"Authorization": f"Bearer {tokens['token']}"})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_what_is_not_http_is_a_400(server: Server) -> None:
    """The answer is uvicorn's own, in plain text: such a request reaches no application."""
    login = b"POST /auth/login HTTP/1.1\r\n"
    verify = b"GET /auth/verify HTTP/1.1\r\n"
    for head in (
        b"NONSENSE", b"PRI * HTTP/2.0", b"FOO /auth/verify HTTP/1.1", b"GET auth/verify HTTP/1.1",
        b"GET /\xff HTTP/1.1", b"CONNECT service:1 HTTP/1.1", verify + b"A : b", verify + b"A: b\0c",
        verify + b"A: b\r\n c", login + b"Content-Length: -1",
        login + b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        login + b"Content-Length: 1\r\nContent-Length: 2", login + b"Content-Length: 99999999999999999999",
    ):  # fmt: skip
        answer = await raw(server, head)
        assert (answer.status_code, answer.text) == (400, "Invalid HTTP request received."), head
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    assert (await raw(server, verify + b"Upgrade: websocket\r\n" + key, connection=b"Upgrade")).status_code == 401


async def test_who_a_request_says_it_comes_from_and_goes_to_changes_nothing(
    server: Server, tokens: dict[str, str]
) -> None:
    """The Host header, and those of proxies, also malformed."""
    bearer = b"\r\nAuthorization: Bearer " + tokens["token"].encode()
    expected = claims_of(tokens["token"])["username"]
    for line in (
        b"Host: evil.example", b"Host: [::1", b"Host: a/b?c#d", b"Host:", b"X-Forwarded-Host: evil.example", b"TE: x",
        b"X-Forwarded-For: 1.2.3.4, nonsense, , \xff", b"X-Forwarded-For: " + b"1," * 5000, b"Forwarded: for=x",
        b"X-Forwarded-Proto: gopher", b"X-Forwarded-Prefix: /x", b"X-Original-URL: /auth/login", b"X-Rewrite-URL: /x",
        b"Accept: text/html", b"Accept-Encoding: br", b"Expect: nonsense", b"Range: bytes=0-1", b"If-Match: x",
    ):  # fmt: skip
        answer = await raw(server, b"GET /auth/verify?x=1 HTTP/1.1" + bearer + b"\r\n" + line)
        assert answer.json() == {"valid": True, "user": {"username": expected}}, line
        assert "evil" not in str(answer.headers)
    answer = await raw(server, b"GET http://evil.example/auth/verify HTTP/1.1" + bearer)
    assert answer.status_code == 200


INJECTIONS = [
    "' or '1'='1", "' or 1=1 -- ", "'; drop table users; -- ", '" or ""="', "\\' or 1=1 -- ", "\\", "%s", "%(a)s", "{}",
    "' union select id, id, id from users -- ", "' or sleep(10) -- ", "'||sleep(10)||'", "0x27", "\0'", "¿' or 1=1#",
    "1; select benchmark(1000000000, md5('x')) -- ", "*/", "'/*", "%%", "\ufeff'", "ʼ or 1=1 --",
]  # fmt: skip


def count_rows(sql: Cursor) -> Any:
    sql.execute("select (select count(*) from users), (select count(*) from refresh_tokens)")
    return sql.fetchone()


async def test_injected_statements_change_nothing_and_take_no_time(
    start: StartClient, name: str, tokens: dict[str, str], sql: Cursor
) -> None:
    """REQUIREMENTS 52."""
    before = count_rows(sql)
    async with start(limits=RateLimits(rate_limits=False)) as client:
        for text in INJECTIONS:
            started = time.perf_counter()
            for username, password in ((text, PASSWORD), (name, text)):
                refused(await client.post("/auth/login", json={"username": username, "password": password}), 401)
            for token in (text, tokens["refreshToken"] + text):
                for path in ("/auth/refresh", "/auth/logout"):
                    refused(await client.post(path, json={"refreshToken": token}), 401)
            refused(await client.post("/auth/signup", json={"username": name + " " + text, "password": PASSWORD}), 400)
            assert time.perf_counter() - started < 10
    assert count_rows(sql) == before


@pytest.mark.parametrize("text", ["'--", "';drop/**/table/**/users;--", '"\\', "%s", "%", "_", "'or'1'='1"])
async def test_a_name_that_looks_like_a_statement_is_a_name(
    client: httpx.AsyncClient, new_name: Callable[[], str], text: str
) -> None:
    """REQUIREMENTS 52."""
    credentials = {"username": new_name() + text, "password": PASSWORD}
    assert (await client.post("/auth/signup", json=credentials)).status_code == 200
    login = await client.post("/auth/login", json=credentials)
    verify = await client.get("/auth/verify", headers={"Authorization": f"Bearer {login.json()['token']}"})
    assert verify.json()["user"] == {"username": credentials["username"]}
    refused(await client.post("/auth/signup", json=credentials), 409, "username_taken")
    refused(await client.post("/auth/login", json={**credentials, "password": text}), 401)


@pytest.mark.parametrize("sent", [b"a", b"1", b"Root=1-5759e988-bd862e3f", b"a.b:c/d+e=f_g-h", b"x" * 128])
async def test_a_well_formed_request_id_is_echoed(client: httpx.AsyncClient, sent: bytes) -> None:
    answer = await client.get("/auth/verify", headers=[(b"X-Request-ID", sent)])
    assert answer.headers.get_list("X-Request-ID") == [sent.decode()]


@pytest.mark.parametrize(
    "sent", [b"", b"a b", b'a"b', b"<script>", b"{}", b"a\tb", b"a,b", b"%0d%0a", b"\xe9", b"\xff", b"x" * 129]
)
async def test_any_other_request_id_is_replaced(client: httpx.AsyncClient, sent: bytes) -> None:
    answer = await client.get("/auth/verify", headers=[(b"X-Request-ID", sent)])
    (own,) = answer.headers.get_list("X-Request-ID")
    assert re.fullmatch("[0-9a-f]{32}", own)


def preflight(origin: str, method: str = "POST", headers: str = "authorization, content-type") -> dict[str, str]:
    return {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}


@pytest.mark.parametrize("origin", [FOREIGN, "null", "file://", "http://localhost:8000"])
async def test_any_origin_may_call_when_any_is_configured_but_never_with_credentials(
    client: httpx.AsyncClient, origin: str
) -> None:
    """REQUIREMENTS 57, 60."""
    answers = [await client.options(path, headers=preflight(origin)) for path in [*PATHS, "/auth/verify"]]
    answers += [await client.options("/auth/verify", headers=preflight(origin, method)) for method in ("GET", "HEAD")]
    assert {answer.status_code for answer in answers} == {200}
    answers.append(await client.get("/auth/verify", headers={"Origin": origin, "Cookie": "a=b"}))
    answers.append(await client.post("/auth/login", content=b"", headers={"Origin": origin}))
    answers.append(await client.get("/auth/nowhere", headers={"Origin": origin}))
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    for headers in (preflight(origin, "PATCH"), preflight(origin, headers="x-evil")):
        refused(await client.options("/auth/login", headers=headers), 400, "cors_refused")


@pytest.fixture(scope="module")
def choosy(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a service that two origins may call."""
    origins = "https://a.example, http://localhost:8000"
    with Server(mariadb.url, tmp_path_factory.mktemp("choosy"), CORS_ORIGINS=origins) as running:
        yield running.url


async def test_only_the_configured_origins_may_call(choosy: str) -> None:
    """REQUIREMENTS 60."""
    async with httpx.AsyncClient(base_url=choosy, verify=NO_TLS) as client:
        for origin in ("https://a.example", "http://localhost:8000"):
            for answer in (
                await client.options("/auth/login", headers=preflight(origin)),
                await client.get("/auth/verify", headers={"Origin": origin}),
            ):
                assert answer.status_code in {200, 401}
                assert answer.headers["Access-Control-Allow-Origin"] == origin
                assert "Origin" in answer.headers["Vary"]
                assert "Access-Control-Allow-Credentials" not in answer.headers
        for origin in (
            FOREIGN, "null", "*", "", "https://a.example.evil.example", "https://evil-a.example", "http://a.example",
            "https://A.example", "https://a.example:8443", "https://a.example/", "https://a.example, https://a.example",
        ):  # fmt: skip
            answer = await client.options("/auth/login", headers=preflight(origin))
            refused(answer, 400, "cors_refused")
            plain = await client.get("/auth/verify", headers={"Origin": origin})
            for refusal in (answer, plain):
                assert "Access-Control-Allow-Origin" not in refusal.headers
                assert "Access-Control-Allow-Credentials" not in refusal.headers


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_that_never_ends_is_a_408(start: StartClient, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """DESIGN §1; the limit is a constant, made short here."""
    assert payload.BODY_TIMEOUT == 5
    monkeypatch.setattr(payload, "BODY_TIMEOUT", 0.05)

    async def endless() -> AsyncIterator[bytes]:
        yield READ[path][0]
        await asyncio.Event().wait()

    async with start() as client:
        refused(await post(client, path, endless()), 408)


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(
    client: httpx.AsyncClient, server: Server, path: str
) -> None:
    """REQUIREMENTS 62: by the end of the file no traceback may be in the log."""
    for is_abrupt in (True, False):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode())
        writer.write(b"Content-Length: 1000\r\n\r\n" + READ[path][0])
        await writer.drain()
        if is_abrupt:
            writer.transport.abort()
        else:
            writer.close()
        assert (await client.get("/auth/verify")).status_code == 401


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield http


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A path, and a body that was well-formed before some of its bytes were replaced; none can become acceptable."""
    path = draw(st.sampled_from(["/auth/signup", "/auth/refresh", "/auth/logout"]))
    body = READ[path][0] + b"}"
    start = draw(st.integers(0, len(body)))
    piece = draw(
        st.binary(max_size=6) | st.sampled_from([b"\\u0000", b"\\ud800", b"null", b"[", b"}", b",", b'"', b"1e9"])
    )
    return path, body[:start] + piece + body[draw(st.integers(start, len(body))) :]


@settings(max_examples=200, deadline=None)
@given(damaged() | st.tuples(st.sampled_from(PATHS), st.binary(max_size=40)))
def test_any_damaged_body_is_refused_in_the_one_shape(wire: httpx.Client, sent: tuple[str, bytes]) -> None:
    """REQUIREMENTS 53, 62."""
    path, body = sent
    answer = wire.post(path, content=body, headers=JSON)
    refused(answer, answer.status_code)
    assert answer.status_code in {400, 401}
    try:
        is_object = isinstance(json.loads(body.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        is_object = False
    assert is_object or answer.status_code == 400
