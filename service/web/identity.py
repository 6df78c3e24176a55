"""Who was verified, as headers: what a gateway that asks `/auth/verify` hands to the app behind it."""

import re
from urllib.parse import quote

from service.tokens import AccessClaims

IDENTITY = {
    "Remote-User": "The username as UTF-8, percent-encoded.",
    "X-Auth-User-Id": "The user's id, which nobody else will ever have.",
    "X-Auth-Session": "The session's id.",
}


_PLAIN = re.compile(r"[A-Za-z0-9._~@-]*").fullmatch  # what quote() leaves as it is, found at a third of its cost


def identity_headers(claims: AccessClaims) -> list[tuple[bytes, bytes]]:
    """The user's name and id, and the session.

    The name is percent-encoded as UTF-8 (RFC 3986 §2.1), all but ASCII letters and digits and `-._~@`: no name can
    end a header or begin another, and whoever decodes it has the very name, since `%` is encoded too, and `+`.
    """
    name = claims.username
    return [
        (b"remote-user", (name if _PLAIN(name) else quote(name, safe="@")).encode()),
        (b"x-auth-user-id", claims.sub.encode()),
        (b"x-auth-session", claims.sid.encode()),
    ]
