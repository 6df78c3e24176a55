"""What a username may be, and when two are the same (RFC 8265)."""

from dataclasses import dataclass

from precis_i18n import get_profile

from service.errors import InvalidUsername

MAX_LENGTH = 64
_preserve = get_profile("UsernameCasePreserved").enforce
_fold = get_profile("UsernameCaseMapped").enforce


@dataclass(frozen=True, slots=True)
class Username:
    """A name as its owner wrote it, and the key under which it is unique."""

    text: str
    key: str


def key_of(raw: str) -> str | None:
    """The key of the username in `raw`; None where it is none."""
    try:
        return parse(raw).key
    except InvalidUsername:
        return None


def parse(raw: str) -> Username:
    """The username in `raw`, 1 to 64 characters. Raises InvalidUsername.

    `Alice`, `alice` and the same in full-width letters have one key. Spaces, control characters, emoji and
    invisible characters are not part of a username, but for joiners where a script needs them (RFC 5892 A.1, A.2).
    """
    if len(raw) > 4 * MAX_LENGTH:  # composing never shortens more than this; the profiles are slow on long text
        raise InvalidUsername(f"A username has at most {MAX_LENGTH} characters.")
    try:
        username = Username(_preserve(raw), _fold(raw))
    except UnicodeEncodeError:
        raise InvalidUsername(
            "A username consists of letters and digits of one writing direction and ASCII's punctuation and symbols,"
            " without spaces or invisible characters."
        ) from None
    if max(len(username.text), len(username.key)) > MAX_LENGTH:
        raise InvalidUsername(f"A username has at most {MAX_LENGTH} characters.")
    return username
