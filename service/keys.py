"""Keys that sign and verify (RFC 7518), and the ring of those in use: a token is a compact JWS of it (RFC 7515)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jose.backends.base import Key as JoseKey
from jose.backends.cryptography_backend import CryptographyECKey, CryptographyRSAKey
from jose.backends.native import HMACKey

from service import base64url
from service.errors import InvalidToken

MAX_LENGTH = 4096  # of a token: more than the longest claims under the longest key come to
RSA_BITS = 3072
RSA_RANGE = range(2048, 4096 + 1)  # RFC 7518 §3.3; above, a signature would take as long as a hash
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HIGHEST_LOW_S = (_P256_ORDER // 2).to_bytes(32, "big")


class UnusableKey(ValueError):
    """A key, or the folder of them, cannot be used; the text says why and never quotes a key."""


class Key:
    """Signs and verifies with the one algorithm that is its own.

    `header` is the first segment of its tokens. With a `jwk`, its public half, it has a `kid` and is published.
    """

    def __init__(
        self,
        algorithm: str,
        sign: Callable[[bytes], bytes],
        verify: Callable[[bytes, bytes], bool],
        jwk: Mapping[str, str] | None = None,
    ) -> None:
        self.algorithm = algorithm
        self.sign = sign
        self.verify = verify
        kid = {"kid": thumbprint(jwk)} if jwk else {}
        self.kid = kid.get("kid")
        self.jwk = {**jwk, **kid, "alg": algorithm, "use": "sig"} if jwk else None
        self.header = base64url.encode(msgspec.json.encode({"alg": algorithm, **kid, "typ": "JWT"}))


def secret_key(secret: bytes) -> Key:
    """An HS256 key; without a `kid`, as the tokens of the first release are."""
    # Not jwk.construct, whose HMAC of the cryptography package takes three times as long on so little text.
    key = HMACKey(secret, "HS256")
    return Key("HS256", key.sign, key.verify)


def private_key(pem: bytes) -> Key:
    """The key of an unencrypted PEM; its kind says which algorithm it is for. Raises UnusableKey."""
    try:
        loaded = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise UnusableKey("it is not a private key in PEM, without a password") from None
    if isinstance(loaded, rsa.RSAPrivateKey):
        return _rsa_key(loaded)
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and isinstance(loaded.curve, ec.SECP256R1):
        return _ec_key(loaded)
    raise UnusableKey("it is neither an RSA key nor one of the curve P-256")


def new_private_key(algorithm: str) -> bytes:
    """A new key for RS256 or ES256, as PKCS8 in PEM."""
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if algorithm == "RS256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def thumbprint(jwk: Mapping[str, str]) -> str:
    """The `kid` of a public key: RFC 7638 §3, of its required members alone."""
    required = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y")}[jwk["kty"]]
    return base64url.encode(hashlib.sha256(msgspec.json.encode({name: jwk[name] for name in required})).digest())


def _rsa_key(key: rsa.RSAPrivateKey) -> Key:
    if key.key_size not in RSA_RANGE:
        raise UnusableKey(f"it is an RSA key of {key.key_size} bits, not of 2048 to 4096")
    signer: JoseKey = CryptographyRSAKey(key, "RS256")
    verifier = signer.public_key()
    public = verifier.to_dict()
    jwk = {"kty": "RSA", "n": public["n"], "e": public["e"]}
    return Key("RS256", signer.sign, verifier.verify, jwk)


def _ec_key(key: ec.EllipticCurvePrivateKey) -> Key:
    signer: JoseKey = CryptographyECKey(key, "ES256")
    verifier = signer.public_key()

    # (r, s) and (r, n - s) are both signatures of a text: only the lower one is ours, so that a token has one spelling.
    def sign(text: bytes) -> bytes:
        signature = signer.sign(text)
        s = int.from_bytes(signature[32:], "big")
        return signature[:32] + min(s, _P256_ORDER - s).to_bytes(32, "big")

    def verify(text: bytes, signature: bytes) -> bool:
        return signature[32:] <= _HIGHEST_LOW_S and verifier.verify(text, signature)

    public = verifier.to_dict()
    return Key("ES256", sign, verify, {"kty": "EC", "crv": "P-256", "x": public["x"], "y": public["y"]})


class KeyRing:
    """The keys in use: `signing` signs, it and the others verify; `jwks` is what may be published (RFC 7517 §5)."""

    def __init__(self, signing: Key, others: Iterable[Key] = ()) -> None:
        self.signing = signing
        self._by_header: dict[str, list[Key]] = {}
        keys = list(dict.fromkeys([signing, *others]))
        for key in keys:
            self._by_header.setdefault(key.header, []).append(key)
        self.jwks = msgspec.json.encode({"keys": [key.jwk for key in keys if key.jwk]})

    @property
    def kids(self) -> list[str]:
        """Of the keys that are published, in their order."""
        return [key.kid for keys in self._by_header.values() for key in keys if key.kid]

    def sign(self, payload: bytes) -> str:
        """A token that says `payload`."""
        signed = f"{self.signing.header}.{base64url.encode(payload)}"
        return f"{signed}.{base64url.encode(self.signing.sign(signed.encode()))}"

    def read(self, token: str) -> bytes:
        """The payload of a token that one of the keys signed. Raises InvalidToken."""
        if len(token) > MAX_LENGTH:
            raise InvalidToken
        signed, _, segment = token.rpartition(".")
        header, _, payload = signed.partition(".")
        # Every header but our keys' own is refused, which settles alg, typ, crit, kid, jku and other spellings at once.
        keys = self._by_header.get(header, ())
        try:
            text, signature = signed.encode(), base64url.decode(segment)
            for key in keys:
                if key.verify(text, signature):
                    return base64url.decode(payload)
        except ValueError:  # of base64 and of surrogates
            raise InvalidToken from None
        raise InvalidToken
