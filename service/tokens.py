"""Issuing and verifying JWTs (RFC 7519; checks after RFC 8725); the keys sign them."""

import secrets
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Annotated, Literal, TypeVar

import msgspec

from service.errors import InvalidToken
from service.keys import KeyRing

REMEMBERED = 4096  # access tokens; about 1 kB each

Text = Annotated[str, msgspec.Meta(min_length=1)]
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=36)]
Generation = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]


class Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What both tokens say. `sid` is the session; times are seconds since 1970."""

    sub: Id
    username: Text
    sid: Id
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

    type: Literal["refresh"]
    gen: Generation


C = TypeVar("C", bound=Claims)
_ACCESS, _REFRESH = msgspec.json.Decoder(AccessClaims), msgspec.json.Decoder(RefreshClaims)


class Tokens:
    """Issues what the signing key of a ring signs; verifies strictly what any of its keys signed.

    `issuer` and `audience` are claimed, and required, when given; when not, a token that has them is refused.
    """

    def __init__(
        self, ring: KeyRing, *, access_lifetime: int, issuer: str | None = None, audience: str | None = None
    ) -> None:
        self._access_lifetime = access_lifetime
        self._issuer = issuer
        self._audience = audience
        self.use(ring)

    def use(self, ring: KeyRing) -> None:
        """Puts a ring in the place of the one before, whose tokens are not remembered."""
        self.ring = ring
        # A token is passed again and again until it expires, which is asked each time; no forgery is remembered.
        self._read_access = lru_cache(REMEMBERED)(partial(self._read, decode=_ACCESS.decode))

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
        return self.ring.sign(msgspec.json.encode(claims))

    def issue_refresh(
        self, *, user_id: str, username: str, session_id: str, generation: int, issued_at: int, expires_at: int
    ) -> str:
        """The refresh token of a session's generation: the same arguments give the same claims."""
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
        return self.ring.sign(msgspec.json.encode(claims))

    def verify_access(self, token: str, now: float) -> AccessClaims:
        """The claims of an access token that is valid at `now`. Raises InvalidToken."""
        return _live(self._read_access(token), now)

    def verify_refresh(self, token: str, now: float) -> RefreshClaims:
        """The claims of a refresh token that is valid at `now`; its session is not looked at. Raises InvalidToken."""
        return _live(self.recognise_refresh(token), now)

    def recognise_refresh(self, token: str) -> RefreshClaims:
        """The claims of a refresh token that we signed, whether or not it has expired. Raises InvalidToken."""
        return self._read(token, _REFRESH.decode)

    def _read(self, token: str, decode: Callable[[str], C]) -> C:
        payload = self.ring.read(token)
        try:
            claims = decode(payload.decode())
        except (ValueError, RecursionError):  # UTF-8 and msgspec errors are ValueErrors
            raise InvalidToken from None
        if claims.iss != self._issuer or claims.aud != self._audience:
            raise InvalidToken
        if not (_is_id(claims.sub) and _is_id(claims.sid)):
            raise InvalidToken
        return claims


def _is_id(text: str) -> bool:
    """Whether the column of an id can hold it, and a header; as a pattern of the struct it would cost four times."""
    return text.isascii() and text.isprintable() and " " not in text


def _live(claims: C, now: float) -> C:
    if not claims.nbf <= now < claims.exp:
        raise InvalidToken
    return claims
