"""Damaged tokens, and strange claims under a true signature: what Tokens must make of them."""

import json
import re
import string
from collections.abc import Callable
from random import Random
from typing import Any

from service.errors import InvalidToken
from service.keys import KeyRing
from service.tokens import Claims, Tokens
from tests.signers import HS256, MODES, P256_ORDER, Members, Mode, b64, decode, dump

NOW = 1_800_000_000
COMMON = {"sub": "ada-id", "username": "ada", "sid": "a-session", "iat": NOW - 60, "exp": NOW + 60}
ACCESS: Members = {**COMMON, "type": "access", "jti": "unique"}
REFRESH: Members = {**COMMON, "type": "refresh", "gen": 3}
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
ODD_TEXT = [*".=+/ \t\n\0%&", "..", "==", "é", "ａ", "\u200b", "\u212a", "\ud800", "\udfff", "\U0001f600", "%2E", "eyJ"]
ODD_VALUES: list[object] = [
    None, True, False, 0, 1, -1, 2**31, 2**32, 2**53, 2**63, 2**64, 10**30, NOW, NOW - 1, NOW + 1, float(NOW + 1),
    1e400, -1e400, float("nan"), "", " ", "0", "access", "refresh", "Access", "a" * 36, "a" * 37, "é", "\0", "\n",
    "null", [], ["access"], {}, {"access": 1},
]  # fmt: skip
ODD_JSON = [
    b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\0", b"\n", b"NaN", b"1e5", b"-0", b"1.0", b"[" * 600,
    b"{", b"}", b'"', b",", b":", b"//", b"\xef\xbb\xbf", b'"gen":0,', b'"type":"access",', b'"type":"refresh",',
    b'"exp":null,',
]  # fmt: skip
ISSUER = Tokens(KeyRing(HS256.key, [mode.key for mode in MODES]), access_lifetime=300)
GENUINE = [(mode, mode.token(claims)) for mode in MODES for claims in (ACCESS, REFRESH)]
Read = Callable[[str], Claims]
READERS: list[Read] = [
    lambda token: ISSUER.verify_access(token, NOW),
    lambda token: ISSUER.verify_refresh(token, NOW),
    ISSUER.recognise_refresh,
]


def damaged_token(random: Random) -> str:
    """A genuine token after one to three edits, some of which leave it as it was."""
    mode, token = random.choice(GENUINE)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        token = random.choice(EDITS)(random, mode, token)
    return token


def check_damaged_token(random: Random) -> None:
    """Only what was issued is believed, by exactly the readers of its type; any other error than InvalidToken fails."""
    token = damaged_token(random)
    believed = [read_by(reader, token) is not None for reader in READERS]
    expected = [False, False, False]
    for _, genuine in GENUINE:
        if token == genuine:
            is_access = json.loads(decode(genuine.split(".")[1])) == ACCESS
            expected = [is_access, not is_access, not is_access]
    assert believed == expected, repr(token)


def check_strange_claims(random: Random) -> None:
    """Under a true signature the parser of claims meets them; what it believes is well-formed to another parser too."""
    payload = strange_payload(random)
    token = HS256.token(payload)
    for reader in READERS:
        claims = read_by(reader, token)
        if claims is not None:
            assert is_well_formed(claims, payload, expires=reader is not READERS[2]), repr(payload)
    if payload in {dump(ACCESS), dump(REFRESH)}:
        assert [read_by(reader, token) is None for reader in READERS].count(False) == (
            1 if payload == dump(ACCESS) else 2
        )


def read_by(reader: Read, token: str) -> Claims | None:
    try:
        return reader(token)
    except InvalidToken:
        return None


def is_well_formed(claims: Claims, payload: bytes, *, expires: bool) -> bool:
    members: Members = json.loads(payload.decode("utf-8"))
    texts = ["sub", "username", "sid", *(["jti"] if members.get("type") == "access" else [])]
    times = [members.get("iat"), members.get("exp"), members.get("nbf", 0)]
    return (
        all(isinstance(members.get(name), str) and members[name] for name in texts)
        and all(type(each) is int for each in times)
        and (not expires or members.get("nbf", 0) <= NOW < members["exp"])
        and members.get("iss") is members.get("aud") is None
        and (members.get("type") == "access" or is_refresh(members))
        and all(getattr(claims, name) == members[name] for name in [*texts, "iat", "exp", "type"])
    )


def is_refresh(members: Members) -> bool:
    """What the columns of a session can hold."""
    ids = all(bool(re.fullmatch("[!-~]{1,36}", members[name])) for name in ("sub", "sid"))
    return members.get("type") == "refresh" and ids and type(members.get("gen")) is int and 0 <= members["gen"] < 2**32


def strange_payload(random: Random) -> bytes:
    members = dict(random.choice([ACCESS, REFRESH]))
    for _ in range(random.choice([0, 1, 1, 2, 3])):
        name = random.choice([*ACCESS, "gen", "nbf", "iss", "aud", "x", "Type", ""])
        if random.random() < 0.2:
            members.pop(name, None)
        else:
            members[name] = random.choice(ODD_VALUES)
    payload = json.dumps(members, separators=(",", ":"), ensure_ascii=random.random() < 0.5).encode()
    for _ in range(random.choice([0, 0, 1, 2])):
        payload = edited(random, payload, lambda: random.choice(ODD_JSON))
    return payload


def edited(random: Random, text: Any, piece: Callable[[], Any]) -> Any:
    """Bytes or text with a place of it removed, doubled, turned around or replaced by a piece."""
    start = random.randrange(len(text) + 1)
    end = random.choice([start, start, start + 1, random.randint(start, len(text))])
    old = text[start:end]
    kind = random.randrange(5)
    new = [old[:0], old * 2, old[::-1], piece(), old + piece()][kind]
    return text[:start] + new + text[end:]


def edit_text(random: Random, mode: Mode, token: str) -> str:
    def piece() -> str:
        return random.choice(ODD_TEXT) if random.random() < 0.3 else "".join(random.choices(BASE64URL, k=2))

    changed: str = edited(random, token, piece)
    return changed


def swap_a_character(random: Random, mode: Mode, token: str) -> str:
    place = random.randrange(len(token)) if token else 0
    return token[:place] + random.choice(BASE64URL) + token[place + 1 :]


def turn_the_last_bits(random: Random, mode: Mode, token: str) -> str:
    """Another spelling of the same bytes, where a segment does not end on a byte."""
    parts = token.split(".")
    place = random.randrange(len(parts))
    if parts[place] and parts[place][-1] in BASE64URL:
        last = BASE64URL.index(parts[place][-1]) ^ random.choice([1, 2, 3])
        parts[place] = parts[place][:-1] + BASE64URL[last]
    return ".".join(parts)


def flip_a_bit(random: Random, mode: Mode, token: str) -> str:
    parts = token.split(".")
    place = random.randrange(len(parts))
    data = bytearray(bytes_of(parts[place]))
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    parts[place] = b64(bytes(data))
    return ".".join(parts)


def splice(random: Random, mode: Mode, token: str) -> str:
    """Segments of two genuine tokens."""
    parts, others = token.split("."), random.choice(GENUINE)[1].split(".")
    place = random.randrange(3)
    return ".".join([*parts[:place], others[place], *parts[place + 1 :]])


def rearrange(random: Random, mode: Mode, token: str) -> str:
    parts = random.choices([*token.split("."), ""], k=random.choice([1, 2, 3, 3, 4, 5]))
    return random.choice([".", ".", "..", "", " "]).join(parts)


def change_the_claims(random: Random, mode: Mode, token: str) -> str:
    """Under the old signature."""
    parts = token.split(".")
    return ".".join([parts[0], b64(strange_payload(random)), *parts[2:]])


def change_the_header(random: Random, mode: Mode, token: str) -> str:
    """With the old signature, none, or one by the public key as a secret."""
    changes: Members = {
        random.choice(["alg", "typ", "kid", "crit", "jku", "jwk", "b64", "x"]): random.choice(ODD_VALUES)
    }
    changes |= random.choice([{}, {"alg": random.choice(["none", "None", "HS256", "RS256", "ES256", "HS512", "dir"])}])
    header = {**mode.header, **changes}
    parts = token.split(".")
    if header == mode.header or random.random() < 0.7:
        form = random.choice([dump(header), json.dumps(header).encode(), dump(mode.header) + b" "])
        return ".".join([b64(form), *parts[1:2], random.choice(["", *parts[2:3]])])
    return mode.sign(dump(header) + b" ", bytes_of(parts[1]) if len(parts) > 1 else b"")


def forge_a_signature(random: Random, mode: Mode, token: str) -> str:
    """(r, n - s) where it is ECDSA's, and what verifiers without range checks believe."""
    signed, _, signature = token.rpartition(".")
    data = bytes_of(signature)
    s = int.from_bytes(data[32:64], "big")
    forged = random.choice([
        *(data[:32] + (other % 2**256).to_bytes(32, "big") for other in (P256_ORDER - s, s + P256_ORDER)),
        bytes(len(data)), bytes(64), b"", data[:-1], data + b"\0", b"\0" + data, random.randbytes(len(data)),
    ])  # fmt: skip
    return f"{signed}.{b64(forged)}"


def surround(random: Random, mode: Mode, token: str) -> str:
    piece: str = random.choice([*ODD_TEXT, "Bearer ", '"', "a" * 5000])
    return random.choice([piece + token, token + piece, piece + token + piece])


def bytes_of(segment: str) -> bytes:
    """Whatever can be made of it."""
    try:
        return decode(segment)
    except ValueError:
        return segment.encode("utf-8", "surrogatepass")


EDITS = [
    edit_text, edit_text, swap_a_character, turn_the_last_bits, flip_a_bit, splice, rearrange, change_the_claims,
    change_the_header, forge_a_signature, surround,
]  # fmt: skip
