"""What a username may be, and when two are the same (RFC 8265)."""

from dataclasses import dataclass

from precis_i18n import get_profile

from service.errors import InvalidUsername

MAX_LENGTH = 64
_preserve = get_profile("UsernameCasePreserved")
_fold = get_profile("UsernameCaseMapped")


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
        raise _too_long()
    try:
        # Before the rules that look for the neighbours of a character in the whole name, for each: up to 80 ms of 256.
        if len(_preserve.apply_five_rules(raw)) > MAX_LENGTH:
            raise _too_long()
        username = Username(_preserve.enforce(raw), _fold.enforce(raw))
    except UnicodeEncodeError:
        raise InvalidUsername(
            "A username consists of letters and digits of one writing direction and ASCII's punctuation and symbols,"
            " without spaces or invisible characters."
        ) from None
    if len(username.key) > MAX_LENGTH:  # lower case may be longer
        raise _too_long()
    return username


def _too_long() -> InvalidUsername:
    return InvalidUsername(f"A username has at most {MAX_LENGTH} characters.")
