"""One example of each body and answer, for the OpenAPI document; what is the same each time is the answer itself."""

from datetime import UTC, datetime

from service.web.wire import (
    Credentials,
    Introspected,
    KeySet,
    NewUser,
    Password,
    PasswordChange,
    PresentedToken,
    RefreshToken,
    Session,
    Sessions,
    SessionsEnded,
    Spared,
    TokenPair,
    Verified,
    VerifiedUser,
)

_ACCESS_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0eXBlIjoiYWNjZXNzIn0.c2lnbmF0dXJl"  # noqa: S105  # nobody's
_REFRESH_TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ0eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"  # noqa: S105  # nobody's
_SESSION_ID = "01920a7e-5b1c-7cc3-98c4-dc0c0c07398f"
_USER_ID = "01920a7e-4f00-7d1a-b3a4-0d6f6c2a9b11"

NEW_USER = NewUser(username="grace", password="correct horse")  # noqa: S106  # an example
CREDENTIALS = Credentials(username="grace", password="correct horse")  # noqa: S106  # an example
REFRESH_TOKEN = RefreshToken(refresh_token=_REFRESH_TOKEN)
PASSWORD_CHANGE = PasswordChange(current_password="correct horse", new_password="battery staple")  # noqa: S106  # an example
PASSWORD = Password(password="correct horse")  # noqa: S106  # an example
SPARED = Spared(keep_current=True)
PRESENTED_TOKEN = PresentedToken(token=_ACCESS_TOKEN, token_type_hint="access_token")  # noqa: S106  # a kind

TOKEN_PAIR = TokenPair(token=_ACCESS_TOKEN, refresh_token=_REFRESH_TOKEN)
VERIFIED = Verified(user=VerifiedUser(username="grace"))
SESSIONS = Sessions(
    sessions=[
        Session(
            id=_SESSION_ID,
            created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            last_used_at=datetime(2026, 1, 3, 4, 5, 6, tzinfo=UTC),
            user_agent="curl/8.14.1",
            ip="192.0.2.7",
            current=True,
        )
    ]
)
SESSIONS_ENDED = SessionsEnded(tokens_deleted=2, message="Logged out everywhere")
INTROSPECTED = Introspected(
    active=True,
    token_use="access_token",  # noqa: S106  # a kind
    token_type="Bearer",  # noqa: S106  # a kind
    sub=_USER_ID,
    username="grace",
    sid=_SESSION_ID,
    iat=1767323045,
    exp=1767323345,
)
KEY_SET = KeySet(
    keys=[
        {
            "kty": "EC",
            "crv": "P-256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
            "use": "sig",
            "alg": "ES256",
            "kid": "1-uAPZKyMMlRXQ2ZTNaG0tYVkpyLVT1lhzjTMHHkFnA",
        }
    ]
)
