"""The three ways to sign a token, by means that share no code with the service: what its tests forge with."""

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from service.keys import Key, private_key, secret_key
from tests.server import SECRET

Members = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def dump(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def sign_by(signature: Callable[[bytes], bytes], header: object, payload: object) -> str:
    """A token; bytes are taken as they are."""
    signed = f"{b64(dump(header))}.{b64(dump(payload))}"
    return f"{signed}.{b64(signature(signed.encode()))}"


def sign_by_hmac(secret: bytes, header: object, payload: object) -> str:
    """A token with a true HS256 signature, whatever the secret is."""
    return sign_by(lambda text: hmac.digest(secret, text, "sha256"), header, payload)


@dataclass(frozen=True, eq=False)
class Mode:
    """An algorithm with a key: `key` is the service's, `signature(text, digest)` is our own."""

    key: Key
    signature: Callable[[bytes, str], bytes]
    private: PrivateKey | None = None

    @property
    def algorithm(self) -> str:
        return self.key.algorithm

    @property
    def header(self) -> Members:
        kid = {"kid": self.key.kid} if self.key.kid else {}
        return {"alg": self.algorithm, **kid, "typ": "JWT"}

    @property
    def pem(self) -> bytes:
        assert self.private
        return self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public(self, encoding: Encoding, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> bytes:
        assert self.private
        return self.private.public_key().public_bytes(encoding, form)

    def sign(self, header: object, payload: object, digest: str = "sha256") -> str:
        """A token with a true signature."""
        return sign_by(lambda text: self.signature(text, digest), header, payload)

    def token(self, payload: object) -> str:
        return self.sign(self.header, payload)

    def __repr__(self) -> str:
        return self.algorithm


def hmac_mode(secret: bytes) -> Mode:
    return Mode(secret_key(secret), lambda text, digest: hmac.digest(secret, text, digest))


def private_mode(private: PrivateKey) -> Mode:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    if isinstance(private, rsa.RSAPrivateKey):
        return Mode(
            private_key(pem), lambda text, digest: private.sign(text, padding.PKCS1v15(), HASHES[digest]), private
        )
    return Mode(private_key(pem), lambda text, digest: raw(private.sign(text, ec.ECDSA(HASHES[digest]))), private)


def raw(der: bytes) -> bytes:
    """The pair of numbers as RFC 7518 §3.4 has them, with the lower one of the two possible s."""
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")


def new_rsa() -> Mode:
    return private_mode(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def new_ec() -> Mode:
    return private_mode(ec.generate_private_key(ec.SECP256R1()))


HS256 = hmac_mode(SECRET.encode())
RS256 = new_rsa()
ES256 = new_ec()
MODES = (HS256, RS256, ES256)
