"""Only what one of our keys signed, exactly as it signed it, is a token; everything else is refused, and no worse.

Each family below forges tokens out of a genuine one's claims, for each algorithm, against one ring that has a key for
each and a second one. Nearly all are signed with the true key, which no attacker has: what is checked beside the
signature is seen only then.
"""

import dis
import hashlib
import json
import socket
import string
import time
import tracemalloc
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import cast

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from service.environment import LONGEST_CLAIM, SAMPLE_SECRET
from service.errors import InvalidToken
from service.keys import Key, KeyRing
from service.localdb import LocalDatabase
from service.tokens import REMEMBERED, Tokens
from service.usernames import MAX_LENGTH as MAX_NAME
from tests.server import SECRET, Server, claims_of
from tests.signers import (
    ES256,
    HASHES,
    HS256,
    MODES,
    P256_ORDER,
    RS256,
    Members,
    Mode,
    b64,
    decode,
    dump,
    hmac_mode,
    new_ec,
    new_rsa,
    sign_by_hmac,
)

KEY = SECRET.encode()
NOW = 1_800_000_000
COMMON = {"sub": "ada-id", "username": "ada", "sid": "no-such-session", "iat": 3_999_999_700, "exp": 4_000_000_000}
ACCESS = {**COMMON, "type": "access", "jti": "some-unique-value"}
REFRESH = {**COMMON, "type": "refresh", "gen": 0}
MISSING = object()
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"

SECOND = {HS256: hmac_mode(b"the-secret-of-the-year-before-which-some-still-have"), RS256: new_rsa(), ES256: new_ec()}
IMPOSTOR = {HS256: hmac_mode(b"a key that the token brings along"), RS256: new_rsa(), ES256: new_ec()}
OURS = [mode.key for mode in (*MODES, *SECOND.values())]
ISSUERS = {mode: Tokens(KeyRing(mode.key, OURS), access_lifetime=300) for mode in MODES}
each_mode = pytest.mark.parametrize("mode", MODES, ids=repr)
Cases = Iterator[tuple[object, str]]  # what it is, and the token
Family = Callable[[Mode, Members], Cases]


def put(members: Members, **changes: object) -> Members:
    return {name: value for name, value in {**members, **changes}.items() if value is not MISSING}


def algorithms(mode: Mode, genuine: Members) -> Cases:
    payload, signature = mode.token(genuine).split(".")[1:]
    names = ["none", "None", "NONE", "nOnE", "hs256", "es256", "HS256", "HS384", "HS512", "RS256", "RS384", "ES256"]
    names += ["ES384", "PS256", "EdDSA", "dir", "", f"{mode.algorithm} "]
    for alg in [*names, None, MISSING, [mode.algorithm], ["none"], {mode.algorithm: 1}, 256, True]:
        header = put(mode.header, alg=alg)
        if header != mode.header:
            yield (alg, "no signature"), f"{b64(dump(header))}.{payload}."
            yield (alg, "the old signature"), f"{b64(dump(header))}.{payload}.{signature}"
            yield (alg, "sha256"), mode.sign(header, genuine)
        for digest in ("sha384", "sha512"):
            yield (alg, digest), mode.sign(header, genuine, digest)


def headers(mode: Mode, genuine: Members) -> Cases:
    header, own = mode.header, dump(mode.header)
    changes: list[Members] = [{"typ": typ} for typ in ("at+jwt", "jwt", "JOSE", "", None, MISSING, ["JWT"], 1)]
    changes += [{"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False}, {"b64": False}, {"b64": True}]
    changes += [{"cty": "JWT"}, {"zip": "DEF"}, {"x5t": "x"}, {"enc": "A128GCM"}, {"kid": None}, {"unknown": 1}]
    changes += [{"kid": kid} for kid in ("", [mode.key.kid], f"{mode.key.kid} ", f"{mode.key.kid}.pem")]
    changes += [{"kid": other.key.kid} for other in (*MODES, SECOND[mode]) if other.key.kid not in {None, mode.key.kid}]
    changes += [{"kid": MISSING}] if mode.key.kid else []
    for change in changes:
        yield change, mode.sign(put(header, **change), genuine)
    impostor = IMPOSTOR[mode]
    brought = impostor.key.jwk or {"kty": "oct", "k": b64(b"a key that the token brings along")}
    changes = [{"jwk": brought}, {"x5c": [b64(dump(brought))]}, {"jku": "http://[::1]/"}, {"x5u": "file:///etc/hosts"}]
    changes += [{"kid": impostor.key.kid or "x"}, {"kid": "../../../dev/null"}, {"kid": "' union select 'x"}]
    for change in changes:
        for signer in (mode, impostor):
            yield (change, signer), signer.sign({**header, **change}, genuine)
        for secret in (b"", b"x"):
            yield (change, secret), sign_by_hmac(secret, {**header, **change}, genuine)
    texts = [dump(dict(reversed(header.items()))), json.dumps(header).encode(), own + b"\n", own * 2]
    texts += [own.replace(b'"alg"', b'"\\u0061lg"'), own[:-1] + b',"x":"\xff"}', own.replace(b"256", b"\\ud800")]
    texts += [b'{"alg":"none",' + own[1:], own[:-1] + b',"typ":"JWT"}', own.replace(b'"', b"")]
    texts += [b"", b"null", b"[]", b'"HS256"', b"1", b"\xef\xbb\xbf" + own, own.decode().encode("utf-16")]
    for text in [*texts, b"[" * 1200, b'{"alg":' * 200, own[:-1] + b',"x":' + b"9" * 5000 + b"}"]:
        yield text, mode.sign(text, genuine)


def claims(mode: Mode, genuine: Members) -> Cases:
    no_text = [MISSING, "", None, 7, True, [], ["ada"], {}]
    changes: list[Members] = [{name: value} for name in ("sub", "username", "sid") for value in no_text]
    changes += [{name: value} for name in ("sub", "sid") for value in ("ada-id ", "ada id", "ada\tid", "äda-id")]
    types = [MISSING, "ACCESS", "REFRESH", "Access", "access ", " refresh", "access\0", "id", "", None, 0, True, [], {}]
    changes += [{"type": value, "jti": "x", "gen": 0} for value in [*types, ["access"], ["refresh"], {"access": 1}]]
    changes += [{name: value} for name in ("iss", "aud") for value in ("not issued by us", "", ["x"], 1)]
    changes += [{"exp": MISSING}, {"iat": MISSING}]
    changes += [{"jti": value} for value in no_text] if genuine is ACCESS else [{"gen": MISSING}]
    for change in changes:
        yield change, mode.token(put(genuine, **change))
    numbers = ["null", '"4000000000"', '""', "true", "false", "[]", "[4000000000]", "{}", "1.5", "NaN", "Infinity"]
    for text in [*numbers, "-Infinity", "1e400", "-1e400", "01", "0x7fffffff", "", "9" * 5000]:
        for name in ("exp", "iat", "nbf") if genuine is ACCESS else ("exp", "gen"):
            yield (name, text[:20]), mode.token(dump({**genuine, name: "@"}).replace(b'"@"', text.encode()))


def payloads(mode: Mode, genuine: Members) -> Cases:
    whole = dump(genuine)
    opened = whole[:-1] + b',"x":'
    texts = [b"null", b"[]", b"[{}]", b"{}", b"1", b"true", b'"text"', b"", b" ", b"{", b"nonsense", b"[" * 1400]
    texts += [whole * 2, whole + b"x", whole + b"\0", whole[:-1] + b",}", b"[" + whole + b"]", b"\xef\xbb\xbf" + whole]
    texts += [whole.decode().encode("utf-16"), mode.token(genuine).encode(), dump(whole.decode())]
    texts += [whole.replace(b'"ada"', b'"\xff"'), opened + b'"\xff"}', whole.replace(b'"ada"', b'"\\ud800"')]
    texts += [opened + b'"\\ud800"}', opened + b"NaN}", opened + b"[" * 1100, opened + b"[" * 10_000]
    texts += [opened + b"9" * 5000 + b"}", opened + b'"' + b"x" * 4000 + b'"}']
    for text in texts:
        yield text[:250], mode.token(text)


def spellings(mode: Mode, genuine: Members) -> Cases:
    token = mode.token(genuine)
    h, p, s = token.split(".")
    junk = ["=", "==", "\n", "\r\n", " ", "\t", "\0", ".", "..", "A", "AAAA", ",", "\u200b", "\ufeff", "%00", '"', "é"]
    for at in (0, 7, len(h) + 7, len(h) + len(p) + 7, len(token)):
        for text in junk:
            yield (at, text), token[:at] + text + token[at:]
    for text in set(junk) - {".", "..", "A", "AAAA"}:  # Python's base64 passes over what is not of its alphabet
        signed = f"{h}.{p[:7]}{text}{p[7:]}"
        yield ("truly signed", text), f"{signed}.{b64(mode.signature(signed.encode(), 'sha256'))}"
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


def signatures(mode: Mode, genuine: Members) -> Cases:
    header, payload, s = mode.token(genuine).split(".")
    signed, true = f"{header}.{payload}", decode(s)
    text, length = signed.encode(), len(decode(s))
    wrong = [true[:part] for part in (0, 1, length // 2, length - 8, length - 1)] + [bytes(length), b"\xff" * length]
    wrong += [true * 2, true + b"\0", b"\0" + true, true[::-1], true.hex().encode(), s.encode(), true[1:] + true[:1]]
    wrong += [hashlib.sha256(part).digest() for part in (text, KEY + text, text + KEY)]
    others = [b"", text + b".", payload.encode(), text[::-1], hashlib.sha256(text).digest()]
    wrong += [mode.signature(other, "sha256") for other in others]
    wrong += {"HS256": lambda _: [], "RS256": paddings, "ES256": ecdsas}[mode.algorithm](text)
    for number, other in enumerate(wrong):
        yield number, f"{signed}.{b64(other)}"
    for change in ({"sub": "eve-id"}, {"exp": 4_000_000_001}, {"username": "admin"}, {"type": "access", "jti": "x"}):
        if (changed := {**genuine, **change}) != genuine:
            yield change, f"{header}.{b64(dump(changed))}.{s}"


def paddings(text: bytes) -> list[bytes]:
    """Of RSA: PSS, and what stands for no hash, another one, or another text; and a number above the modulus."""
    assert isinstance(RS256.private, rsa.RSAPrivateKey)
    sign, numbers = RS256.private.sign, RS256.private.private_numbers()
    pss = [padding.PSS(padding.MGF1(HASHES["sha256"]), size) for size in (0, 32, padding.PSS.MAX_LENGTH)]
    modulus, true = numbers.public_numbers.n, int.from_bytes(sign(text, padding.PKCS1v15(), HASHES["sha256"]), "big")
    size = (modulus.bit_length() + 7) // 8
    bare = b"\0\1" + b"\xff" * (size - 35) + b"\0" + hashlib.sha256(text).digest()
    powers = [int.from_bytes(bare, "big"), int.from_bytes(bare, "big") >> 8, 2, 1]
    found = [sign(text, other, HASHES["sha256"]) for other in pss]
    found += [sign(text, padding.PKCS1v15(), HASHES[digest]) for digest in ("sha384", "sha512")]
    found += [pow(power, numbers.d, modulus).to_bytes(size, "big") for power in powers]
    return [*found, (true + modulus).to_bytes(size + 1, "big"), (modulus - true).to_bytes(size, "big")]


def ecdsas(text: bytes) -> list[bytes]:
    """Of ECDSA: the same in DER, swapped, its twin (r, n - s), and numbers out of range (CVE-2022-21449)."""
    true = ES256.signature(text, "sha256")
    r, s = int.from_bytes(true[:32], "big"), int.from_bytes(true[32:], "big")
    pairs = [(s, r), (r, P256_ORDER - s), (P256_ORDER - r, s), (0, 0), (0, s), (r, 0), (1, 1), (r, 1), (P256_ORDER, s)]
    pairs += [(r, P256_ORDER), (P256_ORDER, P256_ORDER), (r, r), (s, s), (P256_ORDER - 1, P256_ORDER - 1)]
    found = [a.to_bytes(32, "big") + b.to_bytes(32, "big") for a, b in pairs]
    found += [encode_dss_signature(r, s), r.to_bytes(33, "big") + s.to_bytes(33, "big"), bytes(128)]
    return [*found, r.to_bytes(48, "big") + s.to_bytes(48, "big"), true[:32], true[32:]]


def keys(mode: Mode, genuine: Members) -> Cases:
    common = ["", "secret", "your-256-bit-secret", "password", "changeme", "jwt-secret", "null", "undefined", "0"]
    nearly_ours = [SECRET[:-1], SECRET + "\n", SECRET + " ", SECRET.upper(), b64(KEY), hashlib.sha256(KEY).hexdigest()]
    secrets = [text.encode() for text in [*common, SAMPLE_SECRET, *nearly_ours]]
    if mode.private:
        forms = {PublicFormat.SubjectPublicKeyInfo} | ({PublicFormat.PKCS1} if mode is RS256 else set())
        published = [mode.public(encoding, form) for encoding in (Encoding.PEM, Encoding.DER) for form in forms]
        secrets += [*published, *(text.strip() for text in published), dump(mode.key.jwk), mode.pem]
    for secret in secrets:
        for header in (HS256.header, mode.header):
            yield secret, sign_by_hmac(secret, header, genuine)
    for other in [*MODES, *SECOND.values(), *IMPOSTOR.values()]:
        if other is not mode and other.header != mode.header:
            yield other, other.sign(mode.header, genuine)
            yield other, mode.sign(other.header, genuine)
    yield "a stranger", IMPOSTOR[mode].token(genuine)


FAMILIES = [algorithms, headers, claims, payloads, spellings, signatures, keys]


def is_refused(token: str) -> bool:
    """Whether each way to read a token raises InvalidToken; any other exception is the test's failure."""
    issuer = ISSUERS[HS256]
    for read in (lambda: issuer.verify_access(token, NOW), lambda: issuer.recognise_refresh(token)):
        try:
            read()
        except InvalidToken:
            continue
        return False
    return True


def believed(family: Family, mode: Mode) -> list[object]:
    return [case for genuine in (ACCESS, REFRESH) for case, token in family(mode, genuine) if not is_refused(token)]


@each_mode
def test_the_forger_of_these_tests_makes_genuine_tokens(mode: Mode) -> None:
    """Else all that follows would prove nothing."""
    for issuer in ISSUERS.values():
        for signer in (mode, SECOND[mode]):
            assert issuer.verify_access(signer.token(ACCESS), NOW).sub == "ada-id"
            assert issuer.verify_refresh(signer.token(REFRESH), NOW).gen == 0
    header, payload, _ = issue_access(ISSUERS[mode]).split(".")
    assert json.loads(decode(header)) == mode.header
    assert ISSUERS[mode].verify_access(mode.sign(decode(header), decode(payload)), NOW).username == "ada"


@each_mode
def test_no_other_algorithm_verifies(mode: Mode) -> None:
    """REQUIREMENTS 1, 2: whatever the signature is."""
    assert believed(algorithms, mode) == []


@each_mode
def test_no_other_header_is_believed(mode: Mode) -> None:
    """REQUIREMENTS 8, 9, 10, 17, 18, 19: not even another spelling of the same."""
    assert believed(headers, mode) == []


@each_mode
def test_no_missing_or_mistyped_claim_is_believed(mode: Mode) -> None:
    """REQUIREMENTS 11, 12, 14, 15, 16, 19."""
    assert believed(claims, mode) == []


@each_mode
def test_no_payload_but_a_json_object_in_utf_8_is_believed(mode: Mode) -> None:
    """REQUIREMENTS 18, 19."""
    assert believed(payloads, mode) == []


@each_mode
def test_a_token_has_one_spelling(mode: Mode) -> None:
    """REQUIREMENTS 17, 25."""
    assert believed(spellings, mode) == []


@each_mode
def test_no_other_signature_or_signed_text_is_believed(mode: Mode) -> None:
    """REQUIREMENTS 3."""
    assert believed(signatures, mode) == []


@each_mode
def test_no_other_key_verifies(mode: Mode) -> None:
    """REQUIREMENTS 2, 4, 8: not another one of the ring under this one's header, nor what is public as a secret."""
    assert believed(keys, mode) == []


@pytest.fixture(scope="module")
def server(mariadb: LocalDatabase, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service with the whole ring."""
    folder = tmp_path_factory.mktemp("keys")
    for mode in (RS256, ES256, SECOND[RS256], SECOND[ES256]):
        (folder / f"{mode.key.kid}.pem").write_bytes(mode.pem)
    settings = {"JWT_KEYS": str(folder), "JWT_SECRET_PREVIOUS": "the-secret-of-the-year-before-which-some-still-have"}
    with Server(mariadb.url, tmp_path_factory.mktemp("ring"), **settings) as running:
        yield running


@each_mode
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.repeated
async def test_every_hostile_token_is_a_401_everywhere(client: httpx.AsyncClient, family: Family, mode: Mode) -> None:
    """REQUIREMENTS 1-4, 8-12, 15-19, 23, 25: the code `session_revoked` would say that a signature was believed."""
    known = await client.get("/auth/verify", headers={"Authorization": f"Bearer {mode.token(ACCESS)}"})
    assert known.json() == {"valid": True, "user": {"username": "ada"}}
    known = await client.post("/auth/refresh", json={"refreshToken": mode.token(REFRESH)})
    assert known.json()["code"] == "session_revoked"
    for case, token in family(mode, REFRESH):
        for path in ("/auth/refresh", "/auth/logout"):
            answer = await client.post(path, json={"refreshToken": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), (path, case)
            assert answer.json()["error"]
    for case, token in family(mode, ACCESS):
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
    token = HS256.token({**REFRESH, name: value})
    answers = [await client.post(path, json={"refreshToken": token}) for path in ("/auth/refresh", "/auth/logout")]
    assert answers[0].status_code == 401, answers[0].text
    assert answers[1].status_code in {200, 401}, answers[1].text


@pytest.mark.parametrize("generation", [-1, 2**31, 2**32, 2**64, 10**70, -(10**70), 10**1000])
async def test_odd_generations_under_a_true_signature_find_no_session(
    client: httpx.AsyncClient, tokens: dict[str, str], generation: int
) -> None:
    """REQUIREMENTS 19, 23."""
    token = HS256.token({**claims_of(tokens["refreshToken"]), "gen": generation})
    answer = await client.post("/auth/refresh", json={"refreshToken": token})
    assert answer.status_code == 401, answer.text


@each_mode
def test_another_character_anywhere_in_the_signature_is_refused(mode: Mode) -> None:
    """REQUIREMENTS 3: all places, and all characters of a short signature, two of a long one."""
    token = mode.token(ACCESS)
    for at in range(token.rindex(".") + 1, len(token)):
        next_ones = BASE64URL[(BASE64URL.index(token[at]) + 1) % 64] + BASE64URL[BASE64URL.index(token[at]) ^ 32]
        for other in set(BASE64URL if mode is HS256 else next_ones) - {token[at]}:
            assert is_refused(token[:at] + other + token[at + 1 :]), (at, other)


def test_the_mac_is_compared_in_constant_time() -> None:
    """REQUIREMENTS 7: by construction, for its time drowns in noise.

    The MAC is compared by hmac.compare_digest, documented as constant-time, and by nothing beside it.
    """
    verify = cast(FunctionType, HS256.key.verify)
    assert "compare_digest" in verify.__code__.co_names
    assert "COMPARE_OP" not in {step.opname for step in dis.get_instructions(verify)}


async def test_an_address_in_a_token_is_never_called(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 8."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys"
        for name in ("jku", "x5u", "kid"):
            token = HS256.sign({**HS256.header, name: url}, {**ACCESS, "iss": url})
            assert is_refused(token)
            answer = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401
        with pytest.raises(BlockingIOError):
            listener.accept()


@each_mode
def test_access_and_refresh_are_never_taken_for_each_other(mode: Mode) -> None:
    """REQUIREMENTS 11: even when one says all that the other does."""
    issuer = ISSUERS[mode]
    access, refresh = (mode.token({**ACCESS, **REFRESH, "type": kind}) for kind in ("access", "refresh"))
    assert issuer.verify_access(access, NOW).type == "access"
    assert issuer.verify_refresh(refresh, NOW).type == "refresh"
    with pytest.raises(InvalidToken):
        issuer.verify_refresh(access, NOW)
    with pytest.raises(InvalidToken):
        issuer.verify_access(refresh, NOW)


@each_mode
@pytest.mark.parametrize("genuine", [ACCESS, REFRESH], ids=["access", "refresh"])
def test_a_token_is_valid_from_nbf_and_until_just_before_exp(genuine: Members, mode: Mode) -> None:
    """REQUIREMENTS 13, 14: no leeway at either end."""
    issuer = ISSUERS[mode]
    verify: Callable[[str, float], object] = issuer.verify_access if genuine is ACCESS else issuer.verify_refresh
    token = mode.token({**genuine, "nbf": NOW - 60, "exp": NOW})
    for moment in (NOW - 60, NOW - 1, NOW - 0.001):
        verify(token, moment)
    for moment in (NOW - 61, NOW - 60.001, NOW, NOW + 0.001, NOW + 1, NOW * 2):
        with pytest.raises(InvalidToken):
            verify(token, moment)
    for never in (0, -1, -(10**300)):
        with pytest.raises(InvalidToken):
            verify(mode.token({**genuine, "exp": never}), NOW)


@pytest.mark.parametrize("value", [MISSING, None, "", "us/", "u", "US", " us", ["us"], ["us", "them"], {}, 1, True])
@pytest.mark.parametrize("name", ["iss", "aud"])
def test_a_configured_issuer_and_audience_are_required_and_exact(name: str, value: object) -> None:
    """REQUIREMENTS 16."""
    strict = Tokens(KeyRing(HS256.key), access_lifetime=300, issuer="us", audience="us")
    right = {**ACCESS, "iss": "us", "aud": "us"}
    for token in (HS256.token(right), issue_access(strict)):
        assert strict.verify_access(token, NOW).aud == "us"
    with pytest.raises(InvalidToken):
        strict.verify_access(HS256.token(put(right, **{name: value})), NOW)


def issue_access(by: Tokens = ISSUERS[HS256]) -> str:
    return by.issue_access(user_id="ada-id", username="ada", session_id="s", now=NOW)


def test_of_duplicate_members_the_last_one_counts() -> None:
    """REQUIREMENTS 18: as in a body (test_hostile_input.py) and in Python's own parser."""
    twice = dump(ACCESS)[:-1] + b',"sub":"eve-id"}'
    assert ISSUERS[HS256].verify_access(HS256.token(twice), NOW).sub == json.loads(twice)["sub"] == "eve-id"
    assert is_refused(HS256.token(dump(ACCESS)[:-1] + b',"type":"refresh","gen":0}'))


async def test_a_token_of_a_megabyte_is_refused_in_bounded_time(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 19."""
    for token in ("x" * 10**6, "." * 10**6, "a." * (10**6 // 2), HS256.token(b"[" * 10**6)):
        started = time.perf_counter()
        assert is_refused(token)
        assert time.perf_counter() - started < 2
        answer = await client.get("/auth/verify", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["valid"]) == (401, False)
        answer = await client.post("/auth/refresh", json={"refreshToken": token})
        assert answer.status_code == 413


@pytest.mark.repeated
def test_remembered_access_tokens_take_bounded_memory() -> None:
    """As many as are remembered, and then three times as many more."""
    fresh = Tokens(KeyRing(HS256.key), access_lifetime=300)
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


@each_mode
def test_a_remembered_token_still_expires_and_a_refused_one_is_refused_again(mode: Mode) -> None:
    """REQUIREMENTS 3, 13."""
    issuer = ISSUERS[mode]
    genuine = issue_access(issuer)
    forged = IMPOSTOR[mode].token(ACCESS)
    assert issuer.verify_access(genuine, NOW) is issuer.verify_access(genuine, NOW + 299)
    for token, moment in [(genuine, NOW + 300), (forged, NOW), (forged, NOW)]:
        with pytest.raises(InvalidToken):
            issuer.verify_access(token, moment)
    with pytest.raises(InvalidToken):
        Tokens(KeyRing(SECOND[mode].key), access_lifetime=300).verify_access(genuine, NOW)


@each_mode
def test_a_key_that_left_the_ring_verifies_nothing_more_at_once(mode: Mode) -> None:
    """Not even what was remembered; what another key signed stays."""
    tokens = Tokens(KeyRing(mode.key), access_lifetime=300)
    before = issue_access(tokens)
    tokens.use(KeyRing(SECOND[mode].key, [mode.key]))
    after = issue_access(tokens)
    assert tokens.verify_access(before, NOW).sub == tokens.verify_access(after, NOW).sub == "ada-id"
    tokens.use(KeyRing(SECOND[mode].key))
    assert tokens.verify_access(after, NOW).sub == "ada-id"
    with pytest.raises(InvalidToken):
        tokens.verify_access(before, NOW)


def test_tokens_of_the_first_release_stay_valid() -> None:
    """Made by it: its secret signs on, and its header has no kid."""
    made = (
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1IiwidXNlcm5hbWUiOiJhZGEiLCJzaWQiOiJzIiwiaWF0IjoxLCJleHAiOjQwMDAwMD"
        "AwMDAsInR5cGUiOiJyZWZyZXNoIiwiZ2VuIjowfQ.Ss6jJngT0A7EBw47SrN0fVEF28snkhzp_cwyjcRTWSw"
    )
    assert ISSUERS[ES256].verify_refresh(made, NOW).username == "ada"
    assert issue_access().startswith(made.partition(".")[0] + ".")


def test_the_longest_token_that_can_be_issued_verifies() -> None:
    """Of four bytes a character, where text is the operator's or the user's, under the longest RSA key."""
    longest = Key("RS256", lambda _: bytes(4096 // 8), lambda *_: True, {"kty": "RSA", "e": "AQAB", "n": "x" * 683})
    claim = "\U0001f511" * LONGEST_CLAIM
    tokens = Tokens(KeyRing(longest), access_lifetime=300, issuer=claim, audience=claim)
    user: Members = {"user_id": "u" * 36, "username": "\U00020bb7" * MAX_NAME, "session_id": "s" * 36}
    assert tokens.verify_access(tokens.issue_access(**user, now=NOW), NOW).aud == claim
    refresh = tokens.issue_refresh(**user, generation=2**32 - 1, issued_at=NOW, expires_at=NOW + 1)
    assert tokens.verify_refresh(refresh, NOW).aud == claim


@each_mode
def test_tokens_say_the_name_and_nothing_else_of_the_user(mode: Mode) -> None:
    """REQUIREMENTS 15, 16, 20, 21: `iss` and `aud` are not there unless they are configured."""
    access = claims_of(issue_access(ISSUERS[mode]))
    expected = {"sub": "ada-id", "username": "ada", "sid": "s", "type": "access", "iat": NOW, "exp": NOW + 300}
    assert access == {**expected, "jti": access["jti"]}


def test_access_tokens_of_one_second_differ_by_128_random_bits() -> None:
    """REQUIREMENTS 22: in 2000 draws each character shows all of its values."""
    jtis = {claims_of(issue_access())["jti"] for _ in range(2000)}
    assert len(jtis) == 2000
    assert {len(decode(jti)) for jti in jtis} == {16}
    assert [len({jti[at] for jti in jtis}) for at in range(22)] == [64] * 21 + [4]


@each_mode
def test_a_generation_of_a_session_is_always_the_same_token(mode: Mode) -> None:
    """REQUIREMENTS 22, 30: and no two of them are alike. Only a signature of ECDSA is another each time."""
    issuer = ISSUERS[mode]
    same: Members = {
        "user_id": "u",
        "username": "a",
        "session_id": "s",
        "generation": 1,
        "issued_at": 1,
        "expires_at": 2,
    }
    first = issuer.issue_refresh(**same)
    again = Tokens(KeyRing(mode.key), access_lifetime=1).issue_refresh(**same)
    assert claims_of(first) == claims_of(again)
    assert first == again or mode is ES256
    others: list[Members] = [
        {"user_id": "v"},
        {"session_id": "t"},
        {"generation": 2},
        {"issued_at": 2},
        {"expires_at": 3},
    ]
    tokens = [first, *(issuer.issue_refresh(**{**same, **other}) for other in others)]
    assert len({json.dumps(claims_of(token)) for token in tokens}) == 6


async def test_a_token_is_taken_from_nowhere_but_its_place(client: httpx.AsyncClient) -> None:
    """REQUIREMENTS 32: the Authorization header for an access token, the body for a refresh token."""
    access, refresh = HS256.token(ACCESS), HS256.token(REFRESH)
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


@each_mode
@pytest.mark.parametrize("claims", [ACCESS, REFRESH], ids=["access", "refresh"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_an_altered_token_is_refused(claims: Members, mode: Mode, data: st.DataObject) -> None:
    """REQUIREMENTS 3, 17."""
    genuine = mode.token(claims)
    token = data.draw(altered(genuine, ANYTHING))
    assert is_refused(token) is (token != genuine)


@settings(max_examples=500, deadline=None)
@given(st.text(ANYTHING) | st.lists(st.text(LEGAL), max_size=5).map(".".join))
def test_arbitrary_text_is_refused(text: str) -> None:
    """REQUIREMENTS 17, 19."""
    assert is_refused(text)
    assert is_refused(f"{b64(dump(HS256.header))}.{text}")


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
    assert is_refused(HS256.token(members)) is not is_well_formed


@pytest.fixture(scope="module")
def wire(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        yield http


@settings(max_examples=150, deadline=None)
@given(token=altered(HS256.token(ACCESS), LEGAL))
def test_verify_answers_401_to_an_altered_token(wire: httpx.Client, token: str) -> None:
    """REQUIREMENTS 3, 17: with what may stand in a header; HTTP trims the spaces around it."""
    token = token.strip(" ")
    answer = wire.get("/auth/verify", headers=[(b"Authorization", b"Bearer " + token.encode("latin-1"))])
    is_genuine = token == HS256.token(ACCESS)
    assert answer.status_code == (200 if is_genuine else 401)
    assert answer.json()["valid"] is is_genuine
    assert is_genuine or answer.json()["error"]


@settings(max_examples=150, deadline=None)
@given(token=altered(HS256.token(REFRESH), LEGAL | st.characters(codec="utf-8")))
def test_refresh_and_logout_answer_401_to_an_altered_token(wire: httpx.Client, token: str) -> None:
    """REQUIREMENTS 3, 17, 25."""
    if token not in {"", HS256.token(REFRESH)}:
        for path in ("/auth/refresh", "/auth/logout"):
            answer = wire.post(path, json={"refreshToken": token})
            assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token"), path
