"""What may be set of the limits on guesses and signups."""

import re
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import urlsplit

from service.environment import UNITS, Environment, InvalidSetting

_LONGEST_WINDOW = 30 * 86400
_LONGEST_IN_MEMORY = 3600  # every ten seconds all counts are looked at in one turn of the event loop


class Limit(NamedTuple):
    """So many in so many seconds, which begin with the first."""

    amount: int
    seconds: int


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Checked settings. Without a storage, which is the URL of a Redis, each process counts for itself."""

    rate_limits: bool = True
    rate_limit_login_name: Limit = field(default=Limit(20, 15 * 60))
    rate_limit_login_address: Limit = field(default=Limit(100, 15 * 60))
    rate_limit_signup: Limit = field(default=Limit(60, 3600))
    rate_limit_storage: str | None = field(default=None, repr=False)

    @classmethod
    def from_env(cls, env: Environment) -> "RateLimits":
        """Reads and checks these settings alone. Raises InvalidSetting at the first one that is unusable."""
        storage, is_on = _storage(env), env.choice("RATE_LIMITS", "ON", ("ON", "OFF")) == "ON"
        longest = _LONGEST_IN_MEMORY if is_on and not storage else _LONGEST_WINDOW
        return cls(
            rate_limits=is_on,
            rate_limit_login_name=_limit(env, "RATE_LIMIT_LOGIN_NAME", cls.rate_limit_login_name, longest),
            rate_limit_login_address=_limit(env, "RATE_LIMIT_LOGIN_ADDRESS", cls.rate_limit_login_address, longest),
            rate_limit_signup=_limit(env, "RATE_LIMIT_SIGNUP", cls.rate_limit_signup, longest),
            rate_limit_storage=storage,
        )


def _limit(env: Environment, name: str, default: Limit, longest: int) -> Limit:
    text = env.text(name, f"{default.amount}/{default.seconds}s")
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,7})([smhd])", text)
    limit = Limit(int(match[1]), int(match[2]) * UNITS[match[3]]) if match else Limit(0, 0)
    if limit.amount < 1 or not 1 <= limit.seconds <= longest:
        form = "such as 20/15m: a number, and 1h at most, or 30d with RATE_LIMIT_STORAGE"
        raise InvalidSetting(name, f"must be {form}; not {text!r}")
    return limit


def _storage(env: Environment) -> str | None:
    """Without a query: the client would take any, and fail at the first count."""
    text = env.secret_text("RATE_LIMIT_STORAGE")
    if not text:
        return None
    try:
        url, _ = urlsplit(text), urlsplit(text).port
        is_usable = url.scheme in {"redis", "rediss"} and url.hostname and re.fullmatch(r"/?[0-9]{0,4}", url.path)
    except ValueError:
        is_usable = False
    if not is_usable or url.query or url.fragment:
        raise InvalidSetting("RATE_LIMIT_STORAGE", "must have the form redis://user:password@host:port/0, or rediss://")
    return text
