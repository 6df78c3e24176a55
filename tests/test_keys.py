"""Keys, and the ring of those in use. What a ring makes of hostile tokens is test_tokens.py's business."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from service.keys import Key, KeyRing, UnusableKey, new_private_key, private_key, secret_key, thumbprint
from tests.signers import ES256, HS256, MODES, RS256, Mode, b64, decode, new_ec

# RFC 7638 §3.1
RFC_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7"
    "d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}
OPEN = NoEncryption()
RFC_THUMBPRINT = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def published(*modes: Mode) -> list[dict[str, str]]:
    keys = [mode.key for mode in modes]
    document: dict[str, list[dict[str, str]]] = json.loads(KeyRing(keys[0], keys).jwks)
    assert list(document) == ["keys"]
    return document["keys"]


def test_a_kid_is_the_thumbprint_of_rfc_7638() -> None:
    """Its own example, and that other members do not count."""
    assert thumbprint(RFC_KEY) == RFC_THUMBPRINT
    assert thumbprint({"e": "AQAB", "n": RFC_KEY["n"], "kty": "RSA"}) == RFC_THUMBPRINT
    assert ES256.key.jwk
    assert ES256.key.kid == thumbprint(ES256.key.jwk) != thumbprint({**ES256.key.jwk, "x": ES256.key.jwk["y"]})


def test_what_is_published_is_the_public_half_and_nothing_else() -> None:
    """REQUIREMENTS 6, 20: the names of RFC 7518 §6.2.1 and §6.3.1, and the values of the very key."""
    rsa_key, ec_key = published(RS256, ES256)
    common = {"kty", "kid", "alg", "use"}
    assert (set(rsa_key), set(ec_key)) == (common | {"n", "e"}, common | {"crv", "x", "y"})
    assert (rsa_key["alg"], rsa_key["use"], ec_key["alg"], ec_key["crv"]) == ("RS256", "sig", "ES256", "P-256")
    assert isinstance(RS256.private, rsa.RSAPrivateKey)
    assert isinstance(ES256.private, ec.EllipticCurvePrivateKey)
    numbers = RS256.private.public_key().public_numbers()
    assert [int.from_bytes(decode(rsa_key[name]), "big") for name in ("n", "e")] == [numbers.n, numbers.e]
    point = ES256.private.public_key().public_numbers()
    assert [decode(ec_key[name]) for name in ("x", "y")] == [point.x.to_bytes(32, "big"), point.y.to_bytes(32, "big")]


def test_a_coordinate_that_begins_with_zeros_keeps_them() -> None:
    """RFC 7518 §6.2.1.2: 32 bytes, always."""
    for secret in range(1, 2000):
        key = ec.derive_private_key(secret, ec.SECP256R1())
        if key.public_key().public_numbers().x >> 248 == 0:
            break
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    jwk = private_key(pem).jwk
    assert jwk
    assert [len(decode(jwk[name])) for name in ("x", "y")] == [32, 32]


def test_a_secret_is_not_published_and_the_signing_key_comes_first() -> None:
    others = [new_ec(), new_ec()]
    assert [key["kid"] for key in published(ES256, HS256, *others)] == [mode.key.kid for mode in (ES256, *others)]
    assert published(HS256) == []
    assert published(HS256, RS256)[0]["kid"] == RS256.key.kid
    ring = KeyRing(ES256.key, [RS256.key, HS256.key, ES256.key])
    assert ring.kids == [ES256.key.kid, RS256.key.kid]


@pytest.mark.parametrize("mode", MODES, ids=repr)
def test_a_ring_reads_what_any_of_its_keys_signed_and_signs_with_one(mode: Mode) -> None:
    ring = KeyRing(mode.key, [other.key for other in MODES])
    assert [ring.read(other.token(b"something")) for other in MODES] == [b"something"] * 3
    header = ring.sign(b"something").split(".")[0]
    assert header == mode.key.header == b64(json.dumps(mode.header, separators=(",", ":")).encode())


def test_a_signature_of_ecdsa_is_the_lower_one_of_the_two() -> None:
    """Of 64 signatures by chance, half would not be."""
    half = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2
    signatures = [ES256.key.sign(bytes([number])) for number in range(64)]
    assert {len(signature) for signature in signatures} == {64}
    assert all(int.from_bytes(signature[32:], "big") <= half for signature in signatures)
    assert all(ES256.key.verify(bytes([number]), signature) for number, signature in enumerate(signatures))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_new_key_is_a_pem_in_pkcs8_for_its_algorithm(algorithm: str) -> None:
    pem = new_private_key(algorithm)
    assert pem.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert private_key(pem).algorithm == algorithm
    assert pem != new_private_key(algorithm)
    loaded = load_pem_private_key(pem, None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey) or getattr(loaded, "key_size", 0) == 3072


def pem_of(key: PrivateKeyTypes | None, protection: KeySerializationEncryption = OPEN) -> bytes:
    assert key
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def of_a_kind_that_nobody_knows() -> bytes:
    """An Ed25519 key under a number that no algorithm has."""
    der = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, OPEN)
    unknown = base64.encodebytes(der.replace(bytes.fromhex("2b6570"), bytes.fromhex("2b657f")))
    return b"-----BEGIN PRIVATE KEY-----\n" + unknown + b"-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "not a private key"),
        (b"nonsense", "not a private key"),
        (ES256.pem[:120], "not a private key"),
        (RS256.pem.replace(b"M", b"N", 1), "not a private key"),
        (RS256.public(Encoding.PEM, PublicFormat.PKCS1), "not a private key"),
        (ES256.public(Encoding.PEM), "not a private key"),
        (pem_of(ES256.private, BestAvailableEncryption(b"pw")), "without a password"),
        (pem_of(ec.generate_private_key(ec.SECP384R1())), "nor one of the curve P-256"),
        (pem_of(ec.generate_private_key(ec.SECP256K1())), "nor one of the curve P-256"),
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "neither an RSA key"),
        (b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "not a private key"),
        (of_a_kind_that_nobody_knows(), "not a private key"),
    ],
)
def test_what_is_no_key_for_an_algorithm_of_ours_is_refused(pem: bytes, reason: str) -> None:
    """REQUIREMENTS 2, 5: of a curve, a kind or a size that the algorithms do not have."""
    with pytest.raises(UnusableKey, match=reason) as refusal:
        private_key(pem)
    assert "BEGIN" not in str(refusal.value)


def rsa_of(p: int, q: int) -> rsa.RSAPrivateKey:
    """The key of two primes: to find some for a long one takes seconds."""
    d = pow(65537, -1, (p - 1) * (q - 1))
    crt = {"dmp1": rsa.rsa_crt_dmp1(d, p), "dmq1": rsa.rsa_crt_dmq1(d, q), "iqmp": rsa.rsa_crt_iqmp(p, q)}
    numbers = rsa.RSAPrivateNumbers(p, q, d, **crt, public_numbers=rsa.RSAPublicNumbers(65537, p * q))
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


@pytest.mark.parametrize("bits", [1024, 2040, 4104])
def test_an_rsa_key_that_is_too_short_or_too_long_is_refused(bits: int) -> None:
    """RFC 7518 §3.3."""
    key = rsa_of(2**2052 - 395, 2**2052 - 3635) if bits > 4096 else rsa.generate_private_key(65537, bits)
    with pytest.raises(UnusableKey, match=f"{bits} bits"):
        private_key(pem_of(key))


def test_a_key_in_the_older_forms_of_pem_is_the_same_key() -> None:
    for mode in (RS256, ES256):
        assert mode.private
        older = mode.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        assert older != mode.pem
        assert private_key(older).kid == private_key(mode.pem.replace(b"\n", b"\r\n")).kid == mode.key.kid


def test_a_secret_has_no_kid_and_no_jwk() -> None:
    key: Key = secret_key(b"x" * 32)
    assert (key.algorithm, key.kid, key.jwk) == ("HS256", None, None)
    assert key.header == "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
