"""Issuing and verifying JWTs, signed with HS256 (RFC 7519, RFC 7515; checks after RFC 8725)."""

import secrets
from functools import lru_cache, partial
from typing import Annotated, Literal, TypeVar

import msgspec
from jose import jws
from jose.backends.native import HMACKey
from jose.utils import base64url_decode, base64url_encode

from service.errors import InvalidToken

ALGORITHM = "HS256"
REMEMBERED = 4096  # access tokens; about 1 kB each
MAX_LENGTH = 2048

Text = Annotated[str, msgspec.Meta(min_length=1)]
Id = Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,36}\Z")]  # what the column of an id can hold
Generation = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What both tokens say. `sid` is the session; times are seconds since 1970."""

    sub: Text
    username: Text
    sid: Text
    iat: int
    exp: int
    nbf: int = 0
    iss: str | None = None
    aud: str | None = None


class AccessClaims(Claims, frozen=True, kw_only=True):
    type: Literal["access"]
    jti: Text


class RefreshClaims(Claims, frozen=True, kw_only=True):
    """(`sid`, `gen`) is the identity of a refresh token: the same one can be signed again from the session alone."""

    sub: Id
    sid: Id
    type: Literal["refresh"]
    gen: Generation


C = TypeVar("C", bound=Claims)


class Tokens:
    """Signs with one key; verifies strictly what that key signed.

    `issuer` and `audience` are claimed, and required, when given; when not, a token that has them is refused.
    """

    def __init__(self, secret: bytes, *, access_lifetime: int, issuer: str | None = None, audience: str | None = None):
        # Not jwk.construct, whose HMAC of the cryptography package takes three times as long on so little text.
        self._key = HMACKey(secret, ALGORITHM)
        self._access_lifetime = access_lifetime
        self._issuer = issuer
        self._audience = audience
        # Every header but our own is refused, which settles alg, typ, crit, kid, jku and non-canonical forms at once.
        self._header = jws.sign(b"", self._key, algorithm=ALGORITHM).split(".")[0] + "."
        # A token is passed again and again until it expires, which is asked each time; no forgery is remembered.
        self._read_access = lru_cache(REMEMBERED)(partial(self._read, kind=AccessClaims))

    def issue_access(self, *, user_id: str, username: str, session_id: str, now: int) -> str:
        """A new access token."""
        claims = AccessClaims(
            type="access",
            sub=user_id,
            username=username,
            sid=session_id,
            jti=secrets.token_urlsafe(16),
            iat=now,
            exp=now + self._access_lifetime,
            iss=self._issuer,
            aud=self._audience,
        )
        return self._sign(msgspec.json.encode(claims))

    def issue_refresh(
        self, *, user_id: str, username: str, session_id: str, generation: int, issued_at: int, expires_at: int
    ) -> str:
        """The refresh token of a session's generation: the same arguments give the same token."""
        claims = RefreshClaims(
            type="refresh",
            sub=user_id,
            username=username,
            sid=session_id,
            gen=generation,
            iat=issued_at,
            exp=expires_at,
            iss=self._issuer,
            aud=self._audience,
        )
        return self._sign(msgspec.json.encode(claims))

    def verify_access(self, token: str, now: float) -> AccessClaims:
        """The claims of an access token that is valid at `now`. Raises InvalidToken."""
        return _live(self._read_access(token), now)

    def verify_refresh(self, token: str, now: float) -> RefreshClaims:
        """The claims of a refresh token that is valid at `now`; its session is not looked at. Raises InvalidToken."""
        return _live(self.recognise_refresh(token), now)

    def recognise_refresh(self, token: str) -> RefreshClaims:
        """The claims of a refresh token that we signed, whether or not it has expired. Raises InvalidToken."""
        return self._read(token, RefreshClaims)

    def _sign(self, payload: bytes) -> str:
        # As jws.sign does, which renders the same header again for each token, at twice the time.
        signed = f"{self._header}{base64url_encode(payload).decode()}"
        return f"{signed}.{base64url_encode(self._key.sign(signed.encode())).decode()}"

    def _read(self, token: str, kind: type[C]) -> C:
        signed, _, signature = token.rpartition(".")
        if len(token) > MAX_LENGTH or not signed.startswith(self._header):
            raise InvalidToken
        try:
            if not self._key.verify(signed.encode(), _decode(signature)):
                raise InvalidToken
            claims = msgspec.json.decode(_decode(signed[len(self._header) :]).decode(), type=kind)
        except (ValueError, RecursionError):  # base64, UTF-8 and msgspec errors are ValueErrors
            raise InvalidToken from None
        if claims.iss != self._issuer or claims.aud != self._audience:
            raise InvalidToken
        return claims


def _live(claims: C, now: float) -> C:
    if not claims.nbf <= now < claims.exp:
        raise InvalidToken
    return claims


def _decode(segment: str) -> bytes:
    """The bytes of a segment in its only spelling: no padding, no other alphabet, no trailing bits (RFC 7515 §2)."""
    raw: bytes = base64url_decode(segment.encode())
    if base64url_encode(raw) != segment.encode():
        raise InvalidToken
    return raw
