"""A few thousand examples of each target of tests/fuzz.py, and that each of its judges notices what it is there for."""

import json
from collections.abc import Callable

import pytest

from service.errors import InvalidToken
from service.localdb import LocalDatabase
from service.tokens import Claims
from tests import fuzz, fuzz_tokens
from tests.asgi import Answer
from tests.fuzz_requests import CODES, Holdings, Sent, judge
from tests.fuzz_tokens import ACCESS, READERS
from tests.server import cursor_on
from tests.signers import HS256, b64, decode

HOLDINGS = Holdings("some-id", "an.access.token", "a.refresh.token")
COMMON = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"), (b"x-request-id", b"a" * 32)]


@pytest.mark.repeated
def test_no_damaged_token_is_believed_and_none_makes_an_error() -> None:
    """REQUIREMENTS 3, 17, 18, 19."""
    fuzz.fuzz_tokens(0, range(4000))


@pytest.mark.repeated
def test_only_well_formed_claims_are_believed_under_a_true_signature() -> None:
    """REQUIREMENTS 11, 12, 14, 15, 16, 18."""
    fuzz.fuzz_claims(0, range(4000))


@pytest.mark.repeated
async def test_whatever_is_asked_the_answer_is_a_documented_one(own_mariadb: LocalDatabase) -> None:
    """REQUIREMENTS 3, 53, 57, 58, 60, 61, 62, 63; most of the README's codes are among the answers."""
    with cursor_on(own_mariadb.url) as sql:
        seen = await fuzz.ask(own_mariadb.url, sql, 0, range(3000))
    assert sum(seen.values()) == 3000
    answered = {each.split()[1] for each in seen}
    never = {"request_timeout", "internal_error", "overloaded", "database_unavailable", "revocations_stale"}
    never |= {"too_many_attempts"}  # without limits
    rare = {"unavailable", "username_taken", "content_too_large", "session_not_found", "cors_refused"}
    assert {code for _, code in CODES} - never - rare <= answered


# What the judges are for: each of these faults has to be found.


def without_spaces(token: str) -> Claims:
    return READERS[0](token.strip())


def without_padding(token: str) -> Claims:
    return READERS[0](token.rstrip("="))


def with_spare_bits(token: str) -> Claims:
    """Base64 as Python decodes it, where the last bits of a character do not count."""
    signed, _, signature = token.rpartition(".")
    try:
        return READERS[0](f"{signed}.{b64(decode(signature))}")
    except ValueError:
        raise InvalidToken from None


def with_a_crash(token: str) -> Claims:
    assert token.isascii()
    return READERS[0](token)


@pytest.mark.parametrize("careless", [without_spaces, without_padding, with_spare_bits, with_a_crash])
def test_a_careless_reader_of_tokens_is_found_out(
    monkeypatch: pytest.MonkeyPatch, careless: Callable[[str], Claims]
) -> None:
    monkeypatch.setattr(fuzz_tokens, "READERS", [careless, *READERS[1:]])
    with pytest.raises(AssertionError):
        fuzz.fuzz_tokens(0, range(20_000))


def forgetting_what_is_said(name: str) -> Callable[[str], Claims]:
    """Reads access tokens as if a claim of theirs had its usual value."""

    def read(token: str) -> Claims:
        try:
            members = {**json.loads(decode(token.split(".")[1])), name: ACCESS[name]}
        except (ValueError, TypeError):
            raise InvalidToken from None
        return READERS[0](HS256.token(members))

    return read


@pytest.mark.parametrize("name", ["exp", "sub", "iat"])
def test_a_claim_that_is_not_checked_is_found_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(fuzz_tokens, "READERS", [forgetting_what_is_said(name), *READERS[1:]])
    with pytest.raises(AssertionError):
        fuzz.fuzz_claims(0, range(20_000))


def refusal(
    status: int = 401, body: bytes = b'{"error":"No.","code":"invalid_token"}', *more: tuple[bytes, bytes]
) -> Answer:
    length = (b"content-length", str(len(body)).encode())
    challenge = [(b"www-authenticate", b"Bearer")] if status == 401 else []
    return Answer(status, [*COMMON, (b"content-type", b"application/json"), length, *challenge, *more], body)


def asked(path: str = "/auth/refresh", body: bytes = b"", *headers: tuple[bytes, bytes]) -> Sent:
    return Sent("POST", path, list(headers), [body], None, leaves=False)


def test_a_proper_refusal_and_a_proper_success_pass() -> None:
    """Else what follows would prove nothing."""
    assert judge(asked(), refusal(), HOLDINGS) == "invalid_token"
    proper = asked("/auth/refresh", b'{"refreshToken":"a.refresh.token"}')
    assert judge(proper, refusal(200, b"{}"), HOLDINGS) is None
    by_access = asked("/auth/sessions", b"", (b"authorization", b"bearer  an.access.token"))
    assert judge(by_access, refusal(200, b"{}"), HOLDINGS) is None


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (asked(), refusal(500, b'{"error":"No.","code":"internal_error"}')),
        (asked(), refusal(401, b'{"error":"No.","code":"unheard_of"}')),
        (asked(), refusal(400)),
        (asked(), refusal(401, b'{"error":"No."}')),
        (asked(), refusal(401, b'{"error":"ValueError.","code":"invalid_token"}')),
        (asked(), refusal(503, b'{"error":"No.","code":"overloaded"}')),
        (asked("/auth/verify"), refusal()),
        (asked(), refusal(401, b'{"error":"No.","code":"invalid_token"}', (b"x-more", b"a\r\nset-cookie: b"))),
        (asked(), refusal(401, b'{"error":"No.","code":"invalid_token"}', (b"cache-control", b"public"))),
        (asked("/auth/refresh", b"", (b"x-request-id", b"mine")), refusal()),
        (asked("/auth/refresh", b'{"refreshToken":"a.refresh.token "}'), refusal(200, b"{}")),
        (asked("/auth/sessions", b"", (b"authorization", b"Bearer an.access.token=")), refusal(200, b"{}")),
        (asked("/auth/refresh/", b'{"refreshToken":"a.refresh.token"}'), refusal(200, b"{}")),
    ],
)
def test_an_answer_that_is_not_as_it_must_be_is_found_out(sent: Sent, answer: Answer) -> None:
    with pytest.raises((AssertionError, ValueError)):
        judge(sent, answer, HOLDINGS)
