"""Requests of all kinds, as a server may hand them over, and what every answer must be, whatever was asked."""

import json
import logging
import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pymysql
from passlib.context import CryptContext

from service.address import DatabaseAddress
from service.logs import Json, OfRequest
from service.ratelimits import RateLimits
from service.settings import KeySettings, Settings
from tests.asgi import Answer, Fields, Process
from tests.fuzz_tokens import GENUINE, NOW, ODD_JSON, ODD_TEXT, damaged_token, edited
from tests.server import CLIENT_SECRET, ISSUER, ROOT, SECRET
from tests.test_hostile_input import INSIDE

PASSWORD = "correct horse"
USER = "00000000-0000-7000-8000-000000000001"
ROUTES = {
    "/auth/signup": "POST", "/auth/login": "POST", "/auth/verify": "GET", "/auth/refresh": "POST",
    "/auth/logout": "POST", "/auth/sessions": "GET", "/auth/sessions/some-id": "DELETE", "/auth/logoutall": "POST",
    "/auth/password": "PUT", "/auth/account": "DELETE", "/auth/revoke": "POST", "/auth/introspect": "POST",
    "/.well-known/jwks.json": "GET", "/openapi.json": "GET", "/livez": "GET", "/readyz": "GET",
}  # fmt: skip
PUBLIC = {"/.well-known/jwks.json", "/openapi.json"}
BY_ACCESS_TOKEN = {"verify", "sessions", "logoutall", "password", "account"}
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "QUERY", "post", "P-O_S.T"]
TYPES = [
    "application/json", "application/json", "application/json; charset=utf-8", "Application/JSON ;x", "text/plain", "",
    "application/json, text/html", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ";", "é",
]  # fmt: skip
ODD_PASSWORDS = ["x" * 73, "é" * 36, "n\0ul-nul-nul", " " * 8]
ORIGINS = ["https://app.example", "null", "https://evil.example", "", "é", "x" * 300, "https://app.example, null"]
CLIENTS = [
    ("192.0.2.1", 1), ("::1", 0), ("fe80::1%eth0", 0), None, ("", 0), ("unix:", 0), ("\x85evil \xff", 0),
    ("1" * 999, 0),
]  # fmt: skip
ISSUED = {token for _, token in GENUINE}  # of sessions that nobody stored: verify and logout take them
OWN_ID = re.compile("[0-9a-f]{32}")
WELL_FORMED_ID = re.compile(rb"[A-Za-z0-9_.:/+=-]{1,128}")


def documented_codes() -> set[tuple[int, str]]:
    """Each status with each code that the README's table names beside it."""
    found = set()
    for line in (ROOT / "README.md").read_text().splitlines():
        if row := re.fullmatch(r"\| ([45]\d\d(?: [45]\d\d)*) \| ((?:`\w+` ?)+)\|.*", line):
            found |= {(int(status), code) for status in row[1].split() for code in re.findall(r"\w+", row[2])}
    return found


CODES = documented_codes()


@dataclass(frozen=True, slots=True)
class Sent:
    method: str
    path: str
    headers: Fields
    body: list[bytes]
    client: tuple[str, int] | None
    leaves: bool

    def values(self, name: bytes) -> list[bytes]:
        return [value for each, value in self.headers if each == name]


@dataclass(frozen=True, slots=True)
class Holdings:
    """The tokens of a live session, and the passwords that were anybody's since its login."""

    session: str
    access: str
    refresh: str
    passwords: set[str] = field(default_factory=lambda: {PASSWORD})


def settings(url: str) -> Settings:
    """Of the service that is asked; it remembers no ended sessions, since each is made again and again."""
    return Settings(
        database=DatabaseAddress.from_url(url),
        keys=KeySettings(jwt_secret=SECRET.encode()),
        cors_origins=("https://app.example", "null"),
        bcrypt_rounds=4,
        revocation_interval=0,
        limits=RateLimits(rate_limits=False),
        introspection_secret=CLIENT_SECRET.encode(),
    )


HASH = CryptContext(schemes=["bcrypt"], bcrypt__rounds=4).hash(PASSWORD)


def log_in(sql: pymysql.cursors.Cursor, number: int) -> Holdings:
    """A session as a login makes it, with tokens that are the same in each run; whoever was signed up is gone."""
    session = f"00000000-0000-7000-9000-{number:012}"
    sql.execute("delete from users")
    sql.execute("insert into users values (%s, 'ada', 'ada', %s, utc_timestamp())", (USER, HASH))
    columns = "id, user_id, generation, rotated_at, expires_at, created_at"
    times = "from_unixtime(%s), from_unixtime(%s), from_unixtime(%s)"
    sql.execute(
        f"insert into refresh_tokens ({columns}) values (%s, %s, 0, {times})", (session, USER, NOW, NOW + 9000, NOW)
    )
    who = {"user_id": USER, "username": "ada", "session_id": session}
    access = ISSUER.issue_access(**who, now=NOW)
    refresh = ISSUER.issue_refresh(**who, generation=0, issued_at=NOW, expires_at=NOW + 9000)
    return Holdings(session, access, refresh)


def a_request(random: Random, holdings: Holdings) -> Sent:
    """Half of it is as it should be, most often: else nothing would be met but the first check."""
    path = random.choice([*ROUTES])
    method = ROUTES[path] if random.random() < 0.9 else random.choice(METHODS)
    if path.endswith("some-id"):
        path = f"/auth/sessions/{random.choice([holdings.session, USER, 'x', *ODD_TEXT])}"
    if random.random() < 0.07:
        path = edited(random, path, lambda: random.choice([*ODD_TEXT, "/", "//", "/../", "\\", "a" * 3000, "😀"]))
    body = a_body(random, path, holdings) if method in {"POST", "PUT", "DELETE"} or random.random() < 0.1 else b""
    headers = [*authorization(random, holdings), *other_headers(random, body)]
    random.shuffle(headers)
    path = path.encode("utf-8", "replace").decode()  # a server decodes it, and puts no surrogates there
    return Sent(method, path, headers, cut(random, body), random.choice(CLIENTS), leaves=random.random() < 0.01)


def authorization(random: Random, holdings: Holdings) -> Fields:
    if random.random() < 0.2:
        return []
    token = holdings.access
    if random.random() < 0.5:
        token = random.choice([damaged_token(random), edited(random, token, lambda: random.choice(ODD_TEXT))])
    scheme = random.choice(["Bearer ", "Bearer ", "Bearer ", "bearer ", "Bearer  ", "Bearer", "Basic ", "\t", "", "é "])
    values = [scheme + token] if random.random() < 0.95 else [scheme + token, random.choice([token, "Bearer x", ""])]
    return [(b"authorization", on_the_wire(value)) for value in values]


def other_headers(random: Random, body: bytes) -> Fields:
    fields: Fields = []
    if random.random() < 0.95:
        kind = "application/json" if random.random() < 0.9 else random.choice(TYPES)
        fields.append((b"content-type", on_the_wire(kind)))
    if random.random() < 0.1:
        length = random.choice([len(body), len(body) + 1, 0, -1, 2**64, "", "1e3", "0x10", "１"])
        fields.append((b"content-length", on_the_wire(str(length))))
    if random.random() < 0.2:
        fields.append((b"origin", on_the_wire(random.choice(ORIGINS))))
        if random.random() < 0.5:
            fields.append((b"access-control-request-method", on_the_wire(random.choice([*METHODS, "", "é"]))))
            asked = random.choice(["authorization", "content-type, x-request-id", "x-evil", "", "é", "," * 50])
            fields.append((b"access-control-request-headers", on_the_wire(asked)))
    odd = [b"x-request-id", b"user-agent", b"cookie", b"host", b"x-forwarded-for", b"expect", b"accept", b"", b"\xff"]
    for name in random.sample(odd, k=random.choice([0, 0, 0, 1, 2])):
        value = random.choice(["abc.DEF:1/2+3=-_", "x" * 129, "", "é", *ODD_TEXT, "a" * 20_000])
        fields += [(name, on_the_wire(value))] * random.choice([1, 1, 1, 2])
    return fields


def on_the_wire(text: str) -> bytes:
    """As a server lets a value through: bytes without line ends and NUL, and without the spaces around."""
    return re.sub(rb"[\0\r\n]", b"", text.encode("utf-8", "surrogatepass")).strip(b" \t")


def a_body(random: Random, path: str, holdings: Holdings) -> bytes:
    members: dict[str, Any] = random.choice([
        {"username": "no name", "password": PASSWORD},
        {"username": "ada", "password": random.choice([PASSWORD, "wrong", "short", *ODD_PASSWORDS])},
        {"username": random.choice([f"u{random.getrandbits(40)}", "ADA", "ａda", "a" * 65, *ODD_TEXT])},
        {"refreshToken": random.choice([holdings.refresh, damaged_token(random), holdings.access])},
        {"refreshToken": random.choice([holdings.refresh, holdings.refresh.lower(), "x" * 5000, *ODD_TEXT])},
        {"currentPassword": random.choice([PASSWORD, "wrong"]), "newPassword": random.choice(["", *ODD_PASSWORDS])},
        {"keepCurrent": random.choice([True, False, None, 0, "true"])},
        {"password": random.choice(["wrong", "", PASSWORD, *ODD_PASSWORDS])},
    ])  # fmt: skip
    if "signup" in path or "login" in path:  # where a hash would slow down the rest, less often
        members = {
            **members,
            "username": members.get("username", "no name"),
            "password": members.get("password", "short"),
        }
        if random.random() < 0.6:
            members["username"] = "no name" if "signup" in path else 0
    if random.random() < 0.2:
        members[random.choice([*members, "x", ""])] = random.choice(
            [None, 0, [], {}, "", "\ud800", True, 1e400, [[[[]]]]]
        )
    body = json.dumps(members, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(random.choice([0, 0, 0, 1, 2])):
        body = edited(random, body, lambda: random.choice([*ODD_JSON, random.randbytes(3), b"[" * 9000, b" " * 16_000]))
    if random.random() < 0.02:
        body = random.choice(
            [b"", body.decode("utf-8", "replace").encode("utf-16"), b"\xef\xbb\xbf" + body, body * 200]
        )
    return body


def cut(random: Random, body: bytes) -> list[bytes]:
    """The body in the pieces in which it arrives."""
    places = sorted(random.randrange(len(body) + 1) for _ in range(random.choice([0, 0, 1, 3])))
    return [body[start:end] for start, end in zip([0, *places], [*places, len(body)], strict=True)]


@dataclass
class Lines(logging.Handler):
    """The log as it would be written."""

    found: list[str] = field(default_factory=list)
    worst: int = 0

    def __post_init__(self) -> None:
        super().__init__()
        self.setFormatter(Json("%(levelname)s%(name)s%(message)s"))
        self.addFilter(OfRequest())

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))
        self.worst = max(self.worst, record.levelno)

    __hash__ = logging.Handler.__hash__


async def check_request(process: Process, sent: Sent, holdings: Holdings, lines: Lines, seen: Counter[str]) -> None:
    """Asks, and judges the answer and the log."""
    lines.found.clear()
    answer = await process.call(
        sent.method, sent.path, headers=sent.headers, body=sent.body, client=sent.client, leaves=sent.leaves
    )
    code = judge(sent, answer, holdings)
    seen[f"{answer.status} {code}"] += 1
    assert lines.worst < logging.ERROR, lines.found
    for line in lines.found:
        json.loads(line)
        assert line.isprintable(), line
        assert holdings.access not in line
        assert holdings.refresh not in line


def judge(sent: Sent, answer: Answer, holdings: Holdings) -> str | None:
    """The code of a refusal, once everything is as it must be."""
    if answer.status == 499:  # which nobody reads
        assert sent.leaves
        return None
    for name, value in answer.headers:
        assert name == name.lower()
        assert not set(value) & set(b"\r\n\0")
    assert answer.header(b"x-content-type-options") == b"nosniff"
    is_public = sent.path in PUBLIC and answer.status == 200 and sent.method != "OPTIONS"
    assert answer.header(b"cache-control") == (b"public, max-age=300" if is_public else b"no-store")
    judge_request_id(sent, answer)
    length = answer.header(b"content-length")
    assert length is not None
    assert int(length) == len(answer.body)
    origin = answer.header(b"access-control-allow-origin")
    assert origin in {None, b"https://app.example", b"null"}
    assert origin is None or [origin] == sent.values(b"origin")[:1]
    assert answer.header(b"access-control-allow-credentials") is None
    if sent.method == "OPTIONS" and answer.status == 200:
        assert sent.values(b"access-control-request-method")
        return None
    assert answer.header(b"content-type") == b"application/json"
    if answer.status == 200:
        judge_success(sent, answer, holdings)
        return None
    return judge_refusal(sent, answer)


def judge_request_id(sent: Sent, answer: Answer) -> None:
    own = (answer.header(b"x-request-id") or b"").decode()
    given = [value for value in sent.values(b"x-request-id") if WELL_FORMED_ID.fullmatch(value)]
    assert own == given[0].decode() if given else OWN_ID.fullmatch(own)


def judge_refusal(sent: Sent, answer: Answer) -> str:
    refusal = answer.json()
    assert refusal.keys() - {"valid"} == {"error", "code"}
    assert refusal.get("valid", False) is False
    assert ("valid" in refusal) is (sent.path == "/auth/verify" and answer.status == 401)
    assert re.fullmatch(r"[A-Z].*\.", refusal["error"])
    assert not INSIDE.search(answer.body.decode())
    assert (answer.status, refusal["code"]) in CODES
    assert answer.status != 500
    assert (answer.header(b"www-authenticate") is not None) is (answer.status == 401)
    assert (answer.header(b"retry-after") is not None) is (answer.status == 503)
    assert (answer.header(b"allow") is not None) is (answer.status == 405)
    code: str = refusal["code"]
    return code


def judge_success(sent: Sent, answer: Answer, holdings: Holdings) -> None:
    """Nobody is believed without the very token, or password, that was issued."""
    members = answer.json()
    assert "error" not in members
    use = sent.path.removeprefix("/auth/").partition("/")[0]
    if sent.path.startswith("/auth/sessions/"):
        assert sent.path == f"/auth/sessions/{holdings.session}"
    else:
        assert sent.path in ROUTES
    if use in BY_ACCESS_TOKEN:
        [value] = sent.values(b"authorization")
        scheme, _, token = value.decode("latin-1").partition(" ")
        assert scheme.lower() == "bearer"
        assert token.lstrip(" ") in {holdings.access, *ISSUED}
    body = b"".join(sent.body)
    if use in {"signup", "password"}:
        holdings.passwords.add(json.loads(body)["newPassword" if use == "password" else "password"])
    if use in {"refresh", "logout"}:
        assert json.loads(body)["refreshToken"] in {holdings.refresh, *ISSUED}
    if use in {"login", "account"}:
        assert json.loads(body)["password"] in holdings.passwords
