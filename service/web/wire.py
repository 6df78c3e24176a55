"""What goes over the wire, in and out: these structs parse, render and describe it, and the names live only here."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

Text = Annotated[str, msgspec.Meta(min_length=1)]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # described as a date-time only where it has a time zone
# JSON Schema can't say it all; the formats stand for what it says in words, and the service enforces.
NewUsername = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        description="RFC 8265, UsernameCasePreserved: letters and digits of any script, of one writing direction,"
        " and ASCII's punctuation and symbols, without spaces or invisible characters; 64 characters at most."
        " Names are compared by UsernameCaseMapped.",
        extra_json_schema={"format": "username"},
    ),
]
NewPassword = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        description="8 characters at least, unless the operator has chosen another number, and 72 bytes of UTF-8 at"
        " most, none of them NUL; the operator may refuse common ones. It is used exactly as received.",
        extra_json_schema={"format": "new-password", "maxLength": 72},
    ),
]


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A JSON object; unknown members are ignored."""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of an application/x-www-form-urlencoded body, under the names of OAuth; unknown ones are ignored."""


class Refusal(Wire, frozen=True, kw_only=True):
    """Why not: a sentence for people and a stable code for programs."""

    error: str
    code: str


class VerifyRefusal(Refusal, frozen=True, kw_only=True):
    """A refusal of verify, for those who look at `valid` only."""

    valid: Literal[False] = False


class NewUser(Wire, frozen=True, kw_only=True):
    """Who wants to sign up."""

    username: NewUsername
    password: NewPassword


class Credentials(Wire, frozen=True, kw_only=True):
    """Who wants to log in."""

    username: Text
    password: Text


class RefreshToken(Wire, frozen=True, kw_only=True):
    """The refresh token of a session."""

    refresh_token: Text


class PasswordChange(Wire, frozen=True, kw_only=True):
    """The password that is to be replaced, and its successor."""

    current_password: Text
    new_password: NewPassword


class Password(Wire, frozen=True, kw_only=True):
    """The user's password, again."""

    password: Text


class Spared(Wire, frozen=True, kw_only=True):
    """Whether the session that asks stays."""

    keep_current: bool = False


class TokenPair(Wire, frozen=True, kw_only=True):
    """An access token and the session's refresh token."""

    token: str
    refresh_token: str


class Done(Wire, frozen=True, kw_only=True):
    """It is done."""

    success: bool = True
    message: str


class SessionsEnded(Done, frozen=True, kw_only=True):
    """It is done, to so many sessions."""

    tokens_deleted: int


class Session(Wire, frozen=True, kw_only=True):
    """A login that lasts. Its last use is exact to an hour; the user agent is what the client said of itself."""

    id: str
    created_at: Moment
    last_used_at: Moment
    user_agent: str | None
    ip: str | None
    current: bool


class Sessions(Wire, frozen=True, kw_only=True):
    """The live sessions of a user, the one used last first."""

    sessions: list[Session]


class VerifiedUser(Wire, frozen=True, kw_only=True):
    """Whose token it is."""

    username: str


class Verified(Wire, frozen=True, kw_only=True):
    """The token is valid."""

    valid: bool = True
    user: VerifiedUser


class KeySet(Wire, frozen=True, kw_only=True):
    """A JWK Set (RFC 7517 §5) of public keys."""

    keys: list[dict[str, str]]


class PresentedToken(Form, frozen=True, kw_only=True):
    """A token and, of no consequence here, which of the two it might be (RFC 7009 §2.1, RFC 7662 §2.1)."""

    token: Text
    token_type_hint: str | None = None


class Introspected(msgspec.Struct, frozen=True, kw_only=True):
    """What a token says (RFC 7662 §2.2), or only that it is not active; times are seconds since 1970."""

    active: bool
    token_use: Literal["access_token", "refresh_token"] | UnsetType = UNSET
    token_type: Literal["Bearer"] | UnsetType = UNSET
    sub: str | UnsetType = UNSET
    username: str | UnsetType = UNSET
    sid: str | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    iss: str | UnsetType = UNSET
    aud: str | UnsetType = UNSET
