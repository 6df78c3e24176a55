"""Only what our key signed, exactly as it signed it, is a token; everything else is refused, and no worse than that.

Each family below forges tokens out of a genuine one's claims. Nearly all are signed with the true key, which no
attacker has: what is checked beside the signature is seen only then.
"""

import base64
import dis
import hashlib
import hmac
import json
import socket
import string
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jose.backends.native import HMACKey

from service.errors import InvalidToken
from service.settings import SAMPLE_SECRET
from service.tokens import REMEMBERED, Tokens
from tests.server import SECRET, Server, claims_of

KEY = SECRET.encode()
NOW = 1_800_000_000
HEADER = {"alg": "HS256", "typ": "JWT"}
COMMON = {"sub": "ada-id", "username": "ada", "sid": "no-such-session", "iat": 1_700_000_000, "exp": 4_000_000_000}
ACCESS = {**COMMON, "type": "access", "jti": "some-unique-value"}
REFRESH = {**COMMON, "type": "refresh", "gen": 0}
MISSING = object()
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"

issuer = Tokens(KEY, access_lifetime=300)
Members = dict[str, Any]
Cases = Iterator[tuple[object, str]]  # what it is, and the token


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def dump(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def sign(header: object, payload: object, key: bytes = KEY, digest: str = "sha256") -> str:
    """A token with a true signature; bytes are taken as they are."""
    signed = f"{b64(dump(header))}.{b64(dump(payload))}"
    return f"{signed}.{b64(hmac.digest(key, signed.encode(), digest))}"


def put(members: Members, **changes: object) -> Members:
    return {name: value for name, value in {**members, **changes}.items() if value is not MISSING}


def algorithms(genuine: Members) -> Cases:
    payload, signature = sign(HEADER, genuine).split(".")[1:]
    names = ["none", "None", "NONE", "nOnE", "hs256", "HS384", "HS512", "RS256", "ES256", "PS256", "EdDSA", "dir"]
    for alg in [*names, "", "HS256 ", None, MISSING, ["HS256"], ["none"], {"HS256": 1}, 256, True]:
        header = put(HEADER, alg=alg)
        yield (alg, "no signature"), f"{b64(dump(header))}.{payload}."
        yield (alg, "the old signature"), f"{b64(dump(header))}.{payload}.{signature}"
        for digest in ("sha256", "sha384", "sha512"):
            yield (alg, digest), sign(header, genuine, digest=digest)


def headers(genuine: Members) -> Cases:
    changes: list[Members] = [{"typ": typ} for typ in ("at+jwt", "jwt", "JOSE", "", None, MISSING, ["JWT"], 1)]
    changes += [{"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"b64": True}]
    changes += [{"cty": "JWT"}, {"zip": "DEF"}, {"x5t": "x"}, {"enc": "A128GCM"}, {"kid": None}, {"unknown": 1}]
    for change in changes:
        yield change, sign(put(HEADER, **change), genuine)
    own = "a key that the token brings along"
    changes = [{"jwk": {"kty": "oct", "k": b64(own.encode())}}, {"x5c": [b64(own.encode())]}, {"jku": "http://[::1]/"}]
    changes += [{"x5u": "file:///etc/hosts"}, {"kid": own}, {"kid": "../../../dev/null"}, {"kid": "' union select 'x"}]
    for change in changes:
        for key in (KEY, own.encode(), b"", b"x"):
            yield (change, key), sign({**HEADER, **change}, genuine, key)
    texts = [b'{"typ":"JWT","alg":"HS256"}', b'{"alg": "HS256", "typ": "JWT"}', dump(HEADER) + b"\n", dump(HEADER) * 2]
    texts += [b'{"\\u0061lg":"HS256","typ":"JWT"}', b'{"alg":"HS256","typ":"JWT","x":"\xff"}', b'{"alg":"\\ud800"}']
    texts += [b'{"alg":"none","alg":"HS256","typ":"JWT"}', b'{"alg":"HS256","typ":"JWT","typ":"JWT"}', b"{alg:HS256}"]
    texts += [b"", b"null", b"[]", b'"HS256"', b"1", b"\xef\xbb\xbf" + dump(HEADER), str(HEADER).encode("utf-16")]
    for text in [*texts, b"[" * 1200, b'{"alg":' * 200, dump(HEADER)[:-1] + b',"x":' + b"9" * 5000 + b"}"]:
        yield text, sign(text, genuine)


def claims(genuine: Members) -> Cases:
    no_text = [MISSING, "", None, 7, True, [], ["ada"], {}]
    changes: list[Members] = [{name: value} for name in ("sub", "username", "sid") for value in no_text]
    types = [MISSING, "ACCESS", "REFRESH", "Access", "access ", " refresh", "access\0", "id", "", None, 0, True, [], {}]
    changes += [{"type": value, "jti": "x", "gen": 0} for value in [*types, ["access"], ["refresh"], {"access": 1}]]
    changes += [{name: value} for name in ("iss", "aud") for value in ("not issued by us", "", ["x"], 1)]
    changes += [{"exp": MISSING}, {"iat": MISSING}]
    changes += [{"jti": value} for value in no_text] if genuine is ACCESS else [{"gen": MISSING}]
    for change in changes:
        yield change, sign(HEADER, put(genuine, **change))
    numbers = ["null", '"4000000000"', '""', "true", "false", "[]", "[4000000000]", "{}", "1.5", "NaN", "Infinity"]
    for text in [*numbers, "-Infinity", "1e400", "-1e400", "01", "0x7fffffff", "", "9" * 5000]:
        for name in ("exp", "iat", "nbf") if genuine is ACCESS else ("exp", "gen"):
            yield (name, text[:20]), sign(HEADER, dump({**genuine, name: "@"}).replace(b'"@"', text.encode()))


def payloads(genuine: Members) -> Cases:
    whole = dump(genuine)
    opened = whole[:-1] + b',"x":'
    texts = [b"null", b"[]", b"[{}]", b"{}", b"1", b"true", b'"text"', b"", b" ", b"{", b"nonsense", b"[" * 1400]
    texts += [whole * 2, whole + b"x", whole + b"\0", whole[:-1] + b",}", b"[" + whole + b"]", b"\xef\xbb\xbf" + whole]
    texts += [whole.decode().encode("utf-16"), sign(HEADER, genuine).encode(), dump(whole.decode())]
    texts += [whole.replace(b'"ada"', b'"\xff"'), opened + b'"\xff"}', whole.replace(b'"ada"', b'"\\ud800"')]
    texts += [opened + b'"\\ud800"}', opened + b"NaN}", opened + b"[" * 1100, opened + b"[" * 10_000]
    texts += [opened + b"9" * 5000 + b"}", opened + b'"' + b"x" * 2000 + b'"}']
    for text in texts:
        yield text[:250], sign(HEADER, text)


def spellings(genuine: Members) -> Cases:
    token = sign(HEADER, genuine)
    h, p, s = token.split(".")
    junk = ["=", "==", "\n", "\r\n", " ", "\t", "\0", ".", "..", "A", "AAAA", ",", "\u200b", "\ufeff", "%00", '"', "é"]
    for at in (0, 7, len(h) + 7, len(h) + len(p) + 7, len(token)):
        for text in junk:
            yield (at, text), token[:at] + text + token[at:]
    for text in set(junk) - {".", "..", "A", "AAAA"}:  # Python's base64 passes over what is not of its alphabet
        signed = f"{h}.{p[:7]}{text}{p[7:]}"
        yield ("truly signed", text), f"{signed}.{b64(hmac.digest(KEY, signed.encode(), 'sha256'))}"
    arrangements = "h h.p p.s h.s.p p.h.s s.p.h h.p.s.s h.p.s.h.p h.p.s.h.p.s h.p.p.p.s .p.s h..s h.p. .. . ... h..p.s"
    for order in arrangements.split():
        yield order, order.translate({ord("h"): h, ord("p"): p, ord("s"): s})
    for spare_bits in (1, 2, 3):
        yield ("trailing bits", spare_bits), token[:-1] + BASE64URL[BASE64URL.index(token[-1]) ^ spare_bits]
    for old, new in {".": "．", "e": "е", "I": "Ｉ", "J": "Ј", "i": "ⅰ"}.items():
        yield ("look-alike", old), token.replace(old, new)
    yield "the alphabet of RFC 4648 §4", f"{h}.{p}.{s[:20]}+/{s[22:]}"
    yield "flattened JSON", json.dumps({"protected": h, "payload": p, "signature": s})
    yield "general JSON", json.dumps({"payload": p, "signatures": [{"protected": h, "signature": s}]})
    yield "JWE", ".".join([b64(dump({"alg": "dir", "enc": "A256GCM"})), "", s[:16], p, s[:22]])
    for text in (token.swapcase(), token.upper(), token.lower(), token[::-1], token * 2, f'"{token}"', f"JWT {token}"):
        yield text, text
    yield "percent-encoded", token.replace(".", "%2E")
    yield "base64 of all", b64(token.encode())


def macs(genuine: Members) -> Cases:
    signed, _, s = sign(HEADER, genuine).rpartition(".")
    mac, text = decode(s), signed.encode()
    wrong = [mac[:length] for length in (0, 1, 16, 24, 31)]
    wrong += [mac * 2, mac + b"\0", b"\0" + mac, mac[::-1], mac.hex().encode(), bytes(32), s.encode()]
    wrong += [hashlib.sha256(text).digest(), hashlib.sha256(KEY + text).digest(), hashlib.sha256(text + KEY).digest()]
    wrong += [hmac.digest(KEY, other, "sha256") for other in (b"", text + b".", text.split(b".")[1], text[::-1])]
    for number, other in enumerate(wrong):
        yield number, f"{signed}.{b64(other)}"
    _, payload, _ = sign(HEADER, genuine).split(".")
    for change in ({"sub": "eve-id"}, {"exp": 4_000_000_001}, {"username": "admin"}, {"type": "access", "jti": "x"}):
        if (changed := {**genuine, **change}) != genuine:
            yield change, signed.replace(payload, b64(dump(changed))) + "." + s


def keys(genuine: Members) -> Cases:
    common = ["", "secret", "your-256-bit-secret", "password", "changeme", "jwt-secret", "null", "undefined", "0"]
    nearly_ours = [SECRET[:-1], SECRET + "\n", SECRET + " ", SECRET.upper(), b64(KEY), hashlib.sha256(KEY).hexdigest()]
    for key in [*common, SAMPLE_SECRET, *nearly_ours]:
        yield key, sign(HEADER, genuine, key.encode())


def is_refused(token: str, now: float = NOW) -> bool:
    """Whether each way to read a token raises InvalidToken; any other exception is the test's failure."""
    for read in (lambda: issuer.verify_access(token, now), lambda: issuer.recognise_refresh(token)):
        try:
            read()
        except InvalidToken:
            continue
        return False
    return True


def believed(family: Callable[[Members], Cases]) -> list[object]:
    return [case for genuine in (ACCESS, REFRESH) for case, token in family(genuine) if not is_refused(token)]


def test_the_forger_of_these_tests_makes_genuine_tokens() -> None:
    """Else all that follows would prove nothing."""
    assert issuer.verify_access(sign(HEADER, ACCESS), NOW).sub == "ada-id"
    assert issuer.verify_refresh(sign(HEADER, REFRESH), NOW).gen == 0
    header, payload, _ = issue_access().split(".")
    assert issuer.verify_access(sign(decode(header), decode(payload)), NOW).username == "ada"


def test_no_other_algorithm_verifies() -> None:
    """REQUIREMENTS 1, 2: whatever the signature is."""
    assert believed(algorithms) == []


def test_no_other_header_is_believed() -> None:
    """REQUIREMENTS 8, 9, 10, 17, 18, 19: not even another spelling of the same."""
    assert believed(headers) == []


def test_no_missing_or_mistyped_claim_is_believed() -> None:
    """REQUIREMENTS 11, 12, 14, 15, 16, 19."""
    assert believed(claims) == []


def test_no_payload_but_a_json_object_in_utf_8_is_believed() -> None:
    """REQUIREMENTS 18, 19."""
    assert believed(payloads) == []


def test_a_token_has_one_spelling() -> None:
    """REQUIREMENTS 17, 25."""
    assert believed(spellings) == []


def test_no_other_mac_or_signed_text_is_believed() -> None:
    """REQUIREMENTS 3."""
    assert believed(macs) == []


def test_no_other_key_verifies() -> None:
    """REQUIREMENTS 4."""
    assert believed(keys) == []


@pytest.mark.parametrize("family", [algorithms, headers, claims, payloads, spellings, macs, keys])
async def test_every_hostile_token_is_a_401_everywhere(
    client: httpx.AsyncClient, family: Callable[[Members], Cases]
) -> None:
    """REQUIREMENTS 1-4, 8-12, 15-19, 23, 25: the code `session_revoked` would say that a signature was believed."""
    known = await client.get("/auth/verify", headers={"Authorization": f"Bearer {sign(HEADER, ACCESS)}"})
    assert known.json() == {"valid": True, "user": {"username": "ada"}}
    known = await client.post("/auth/refresh", json={"refreshToken": sign(HEADER, REFRESH)})
    assert known.json()["code"] == "session_revoked"
    for case, token in family(REFRESH):
        for path in ("/auth/refresh", "/auth/logout"):
            answer = await client.post(path, json={"refreshToken": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), (path, case)
            assert answer.json()["error"]
    for case, token in family(ACCESS):
        if token.isprintable() and token == token.strip():  # else HTTP itself refuses or trims it
            answer = await client.get("/auth/verify", headers=[(b"Authorization", b"Bearer " + token.encode())])
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), case
            assert answer.json()["valid"] is False
            assert answer.json()["error"]


@pytest.mark.parametrize("value", ["é", "𠮷", "' or 1=1 -- ", "%s", "\0", "x" * 1000, "\\"])
@pytest.mark.parametrize("name", ["sid", "sub"])
async def test_odd_identifiers_under_a_true_signature_find_no_session(
    client: httpx.AsyncClient, name: str, value: str
) -> None:
    """REQUIREMENTS 23, 27, 52."""
    token = sign(HEADER, {**REFRESH, name: value})
    answers = [await client.post(path, json={"refreshToken": token}) for path in ("/auth/refresh", "/auth/logout")]
    assert answers[0].status_code == 401, answers[0].text
    assert answers[1].status_code in {200, 401}, answers[1].text


@pytest.mark.parametrize("generation", [-1, 2**31, 2**32, 2**64, 10**70, -(10**70), 10**1000])
async def test_odd_generations_under_a_true_signature_find_no_session(
    client: httpx.AsyncClient, tokens: dict[str, str], generation: int
) -> None:
    """REQUIREMENTS 19, 23."""
    token = sign(HEADER, {**claims_of(tokens["refreshToken"]), "gen": generation})
    answer = await client.post("/auth/refresh", json={"refreshToken": token})
    assert answer.status_code == 401, answer.text


def test_another_character_anywhere_in_the_signature_is_refused() -> None:
    """REQUIREMENTS 3: all 43 places, all 64 characters."""
    token = sign(HEADER, ACCESS)
    for at in range(token.rindex(".") + 1, len(token)):
        for other in set(BASE64URL) - {token[at]}:
            assert is_refused(token[:at] + other + token[at + 1 :]), (at, other)


def test_the_mac_is_compared_in_constant_time() -> None:
    """REQUIREMENTS 7: by construction, for its time drowns in noise.

    The MAC is compared by hmac.compare_digest, documented as constant-time, and by nothing beside it.
    """
    verify = HMACKey.verify
    assert type(issuer._key) is HMACKey
    assert "compare_digest" in verify.__code__.co_names
    assert "COMPARE_OP" not in {step.opname for step in dis.get_instructions(verify)}


async def test_an_address_in_a_token_is_never_called(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 8."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        for name in ("jku", "x5u", "kid"):
            token = sign({**HEADER, name: url}, {**ACCESS, "iss": url})
            assert is_refused(token)
            answer = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_access_and_refresh_are_never_taken_for_each_other() -> None:
    """REQUIREMENTS 11: even when one says all that the other does."""
    access, refresh = (sign(HEADER, {**ACCESS, **REFRESH, "type": kind}) for kind in ("access", "refresh"))
    assert issuer.verify_access(access, NOW).type == "access"
    assert issuer.verify_refresh(refresh, NOW).type == "refresh"
    with pytest.raises(InvalidToken):
        issuer.verify_refresh(access, NOW)
    with pytest.raises(InvalidToken):
        issuer.verify_access(refresh, NOW)


@pytest.mark.parametrize(("genuine", "verify"), [(ACCESS, issuer.verify_access), (REFRESH, issuer.verify_refresh)])
def test_a_token_is_valid_from_nbf_and_until_just_before_exp(
    genuine: Members, verify: Callable[[str, float], object]
) -> None:
    """REQUIREMENTS 13, 14: no leeway at either end."""
    token = sign(HEADER, {**genuine, "nbf": NOW - 60, "exp": NOW})
    for moment in (NOW - 60, NOW - 1, NOW - 0.001):
        verify(token, moment)
    for moment in (NOW - 61, NOW - 60.001, NOW, NOW + 0.001, NOW + 1, NOW * 2):
        with pytest.raises(InvalidToken):
            verify(token, moment)
    for never in (0, -1, -(10**300)):
        with pytest.raises(InvalidToken):
            verify(sign(HEADER, {**genuine, "exp": never}), NOW)


@pytest.mark.parametrize("value", [MISSING, None, "", "us/", "u", "US", " us", ["us"], ["us", "them"], {}, 1, True])
@pytest.mark.parametrize("name", ["iss", "aud"])
def test_a_configured_issuer_and_audience_are_required_and_exact(name: str, value: object) -> None:
    """REQUIREMENTS 16."""
    strict = Tokens(KEY, access_lifetime=300, issuer="us", audience="us")
    right = {**ACCESS, "iss": "us", "aud": "us"}
    for token in (sign(HEADER, right), issue_access(strict)):
        assert strict.verify_access(token, NOW).aud == "us"
    with pytest.raises(InvalidToken):
        strict.verify_access(sign(HEADER, put(right, **{name: value})), NOW)


def issue_access(by: Tokens = issuer) -> str:
    return by.issue_access(user_id="ada-id", username="ada", session_id="s", now=NOW)


def test_of_duplicate_members_the_last_one_counts() -> None:
    """REQUIREMENTS 18: as in a body (test_hostile_input.py) and in Python's own parser."""
    twice = dump(ACCESS)[:-1] + b',"sub":"eve-id"}'
    assert issuer.verify_access(sign(HEADER, twice), NOW).sub == json.loads(twice)["sub"] == "eve-id"
    assert is_refused(sign(HEADER, dump(ACCESS)[:-1] + b',"type":"refresh","gen":0}'))


async def test_a_token_of_a_megabyte_is_refused_in_bounded_time(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 19."""
    for token in ("x" * 10**6, "." * 10**6, "a." * (10**6 // 2), sign(HEADER, b"[" * 10**6)):
        started = time.perf_counter()
        assert is_refused(token)
        assert time.perf_counter() - started < 2
        answer = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["valid"]) == (401, False)
        answer = await client.post("/auth/refresh", json={"refreshToken": token})
        assert answer.status_code == 413


def test_remembered_access_tokens_take_bounded_memory() -> None:
    """As many as are remembered, and then three times as many more."""
    fresh = Tokens(KEY, access_lifetime=300)
    tracemalloc.start()
    try:
        held = []
        for many in (REMEMBERED, 3 * REMEMBERED):
            for _ in range(many):
                fresh.verify_access(issue_access(), NOW)
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert held[0] < 2000 * REMEMBERED
    assert held[1] < 1.1 * held[0]


def test_a_remembered_token_still_expires_and_a_refused_one_is_refused_again() -> None:
    """REQUIREMENTS 3, 13."""
    genuine = issue_access()
    forged = sign(HEADER, ACCESS, key=b"x" * 32)
    assert issuer.verify_access(genuine, NOW) is issuer.verify_access(genuine, NOW + 299)
    for token, moment in [(genuine, NOW + 300), (forged, NOW), (forged, NOW)]:
        with pytest.raises(InvalidToken):
            issuer.verify_access(token, moment)
    with pytest.raises(InvalidToken):
        Tokens(b"another key, and so another memory", access_lifetime=300).verify_access(genuine, NOW)


def test_tokens_say_the_name_and_nothing_else_of_the_user() -> None:
    """REQUIREMENTS 15, 16, 20, 21: `iss` and `aud` are not there unless they are configured."""
    access = claims_of(issue_access())
    expected = {"sub": "ada-id", "username": "ada", "sid": "s", "type": "access", "iat": NOW, "exp": NOW + 300}
    assert access == {**expected, "jti": access["jti"]}


def test_access_tokens_of_one_second_differ_by_128_random_bits() -> None:
    """REQUIREMENTS 22: in 2000 draws each character shows all of its values."""
    jtis = {claims_of(issue_access())["jti"] for _ in range(2000)}
    assert len(jtis) == 2000
    assert {len(decode(jti)) for jti in jtis} == {16}
    assert [len({jti[at] for jti in jtis}) for at in range(22)] == [64] * 21 + [4]


def test_a_generation_of_a_session_is_always_the_same_token() -> None:
    """REQUIREMENTS 22, 30: and no two of them are alike."""
    same: Members = {
        "user_id": "u",
        "username": "a",
        "session_id": "s",
        "generation": 1,
        "issued_at": 1,
        "expires_at": 2,
    }
    first = issuer.issue_refresh(**same)
    assert first == Tokens(KEY, access_lifetime=1).issue_refresh(**same)
    others: list[Members] = [
        {"user_id": "v"},
        {"session_id": "t"},
        {"generation": 2},
        {"issued_at": 2},
        {"expires_at": 3},
    ]
    assert len({issuer.issue_refresh(**{**same, **other}) for other in others} | {first}) == 6


async def test_a_token_is_taken_from_nowhere_but_its_place(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 32: the Authorization header for an access token, the body for a refresh token."""
    access, refresh = sign(HEADER, ACCESS), sign(HEADER, REFRESH)
    for name in ("token", "access_token", "Authorization", "jwt", "refreshToken", "refresh_token"):
        elsewhere = {"Cookie": f"{name}={access}", f"X-{name}": access, "Proxy-Authorization": f"Bearer {access}"}
        answer = await client.request(
            "GET", "/auth/verify", params={name: access}, headers=elsewhere, json={name: access}
        )
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_token"), name
        elsewhere = {"Cookie": f"{name}={refresh}", f"X-{name}": refresh, "Authorization": f"Bearer {refresh}"}
        for path in ("/auth/refresh", "/auth/logout"):
            answer = await client.post(path, json={}, params={name: refresh}, headers=elsewhere)
            assert (answer.status_code, answer.json()["code"]) == (400, "missing_field"), (name, path)
            assert (await client.post(path, data={name: refresh})).status_code == 415


@st.composite
def altered(draw: st.DrawFn, genuine: str, alphabet: st.SearchStrategy[str]) -> str:
    """The genuine token after up to three edits, which may also leave it as it was."""
    text = genuine
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.just(start) | st.just(start + 1) | st.integers(start, len(text)))
        old = text[start:end]
        new = draw(st.text(alphabet, max_size=4) | st.sampled_from([old, old * 2, old[::-1], old.swapcase()]))
        text = text[:start] + new + text[end:]
    return text


LEGAL = st.sampled_from(BASE64URL + ".=+/ ") | st.characters(min_codepoint=0x20, max_codepoint=0xFF).filter(
    str.isprintable
)
ANYTHING = LEGAL | st.characters(exclude_categories=())  # surrogates too


@pytest.mark.parametrize("genuine", [sign(HEADER, ACCESS), sign(HEADER, REFRESH)], ids=["access", "refresh"])
@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_an_altered_token_is_refused(genuine: str, data: st.DataObject) -> None:
    """REQUIREMENTS 3, 17."""
    token = data.draw(altered(genuine, ANYTHING))
    assert is_refused(token) is (token != genuine)


@settings(max_examples=500, deadline=None)
@given(st.text(ANYTHING) | st.lists(st.text(LEGAL), max_size=5).map(".".join))
def test_arbitrary_text_is_refused(text: str) -> None:
    """REQUIREMENTS 17, 19."""
    assert is_refused(text)
    assert is_refused(f"{b64(dump(HEADER))}.{text}")


WORDS = st.text(string.ascii_letters, max_size=5)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
NAMES = st.sampled_from([*ACCESS, "nbf", "iss", "aud", "gen", "x"])
VALUES = SCALARS | st.just(NOW * 2) | st.lists(SCALARS, max_size=2) | st.dictionaries(NAMES, SCALARS, max_size=2)


@settings(max_examples=500, deadline=None)
@given(changes=st.dictionaries(NAMES, VALUES, max_size=3), gone=st.sets(st.sampled_from([*ACCESS]), max_size=1))
def test_truly_signed_claims_are_believed_exactly_when_they_are_well_formed(changes: Members, gone: set[str]) -> None:
    """REQUIREMENTS 11, 12, 14, 15, 16."""
    members = {name: value for name, value in {**ACCESS, **changes}.items() if name not in gone}
    texts = [members.get(name) for name in ("sub", "username", "sid", "jti")]
    times = [members.get("nbf", 0), members.get("exp"), members.get("iat")]
    is_well_formed = (
        all(isinstance(text, str) and text for text in texts)
        and all(type(moment) is int for moment in times)
        and times[0] <= NOW < times[1]
        and [members.get(name) for name in ("iss", "aud", "type")] == [None, None, "access"]
    )
    assert is_refused(sign(HEADER, members)) is not is_well_formed


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield http


@settings(max_examples=150, deadline=None)
@given(token=altered(sign(HEADER, ACCESS), LEGAL))
def test_verify_answers_401_to_an_altered_token(wire: httpx.Client, token: str) -> None:
    """REQUIREMENTS 3, 17: with what may stand in a header; HTTP trims the spaces around it."""
    token = token.strip(" ")
    answer = wire.get("/auth/verify", headers=[(b"Authorization", b"Bearer " + token.encode("latin-1"))])
    is_genuine = token == sign(HEADER, ACCESS)
    assert answer.status_code == (200 if is_genuine else 401)
    assert answer.json()["valid"] is is_genuine
    assert is_genuine or answer.json()["error"]


@settings(max_examples=150, deadline=None)
@given(token=altered(sign(HEADER, REFRESH), LEGAL | st.characters(codec="utf-8")))
def test_refresh_and_logout_answer_401_to_an_altered_token(wire: httpx.Client, token: str) -> None:
    """REQUIREMENTS 3, 17, 25."""
    if token not in {"", sign(HEADER, REFRESH)}:
        for path in ("/auth/refresh", "/auth/logout"):
            answer = wire.post(path, json={"refreshToken": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), path
