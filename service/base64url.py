"""base64url (RFC 4648 §5) without padding, as JWTs have it (RFC 7515 §2), and in its only spelling."""

from base64 import urlsafe_b64encode
from binascii import a2b_base64, b2a_base64

# The two letters that differ from base64's become those; what must not occur, `-`, which base64 lacks.
_BASE64 = bytes.maketrans(b"-_+/=", b"+/---")


def encode(data: bytes) -> str:
    """The segment of a token that says `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(segment: str) -> bytes:
    """What a segment says: no padding, no other alphabet, no trailing bits. Raises ValueError."""
    text = segment.encode().translate(_BASE64) + b"=" * (-len(segment) % 4)
    data = a2b_base64(text)
    if b2a_base64(data, newline=False) != text:  # it skips what it does not know; at half the cost of the urlsafe pair
        raise ValueError("another spelling")
    return data
