"""The address of the database: what a DATABASE_URL says, in the parameters that yoyo hands to PyMySQL."""

import ssl
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, urlsplit

from service.environment import InvalidSetting

_VERIFIES = ("ssl_verify_cert", "ssl_verify_identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseAddress:
    """Where the database is, and as whom to log in there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    name: str
    unix_socket: str | None = None
    tls: ssl.SSLContext | None = field(default=None, compare=False)

    @classmethod
    def from_url(cls, url: str) -> "DatabaseAddress":
        """Reads `mysql://user:pass@host:port/name`, the first two percent-encoded, and `unix_socket` or `ssl_…`.

        Raises InvalidSetting.
        """
        try:
            parts, port = urlsplit(url), urlsplit(url).port
        except ValueError:
            raise InvalidSetting(
                "DATABASE_URL", "is not a URL: percent-encode user name and password, and the port is below 65536"
            ) from None
        if parts.scheme != "mysql":
            raise InvalidSetting("DATABASE_URL", "must begin with mysql:// (also for MariaDB)")
        name = parts.path.removeprefix("/")  # as it stands: so does yoyo take it
        if not parts.username or not name or "/" in name or parts.fragment:
            raise InvalidSetting("DATABASE_URL", "must have the form mysql://user:password@host:port/database")
        password = unquote(parts.password or "")
        if not password.isascii():  # as Latin-1 the server does not know it, or an error quotes it
            raise InvalidSetting(
                "DATABASE_URL", "must have an ASCII password: the drivers can't send another as the server wants it"
            )
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        unix_socket = options.pop("unix_socket", None)
        context = _tls(options)
        if unix_socket and context:
            raise InvalidSetting("DATABASE_URL", "must have unix_socket or ssl_ca, not both: a socket needs no TLS")
        if options:
            raise InvalidSetting("DATABASE_URL", f"has a parameter that is not known: {', '.join(sorted(options))}")
        return cls(
            host=parts.hostname or "localhost",
            port=port or 3306,
            user=unquote(parts.username),
            password=password,
            name=name,
            unix_socket=unix_socket,
            tls=context,
        )

    @property
    def is_readable_on_the_way(self) -> bool:
        """Whether what is said to the database leaves this machine, and without TLS."""
        if self.tls or self.unix_socket or self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True


def _tls(options: MutableMapping[str, str]) -> ssl.SSLContext | None:
    """Takes the `ssl_…` out of the parameters of a URL; None where there are none. Raises InvalidSetting.

    The server has to prove with a certificate of `ssl_ca` that it is the host of the URL; `ssl_cert` and `ssl_key` are
    what we prove ourselves with, to a server that asks for it.
    """
    found = {name: options.pop(name) for name in ("ssl_ca", "ssl_cert", "ssl_key", *_VERIFIES) if name in options}
    if not found:
        return None
    # PyMySQL, and so yoyo, would accept any certificate without these, and any host's.
    if not found.get("ssl_ca") or any(found.get(name) != "true" for name in _VERIFIES):
        raise InvalidSetting(
            "DATABASE_URL", "must have ssl_ca, ssl_verify_cert=true and ssl_verify_identity=true, or none of them"
        )
    if ("ssl_cert" in found) != ("ssl_key" in found):
        raise InvalidSetting("DATABASE_URL", "must have both ssl_cert and ssl_key, or neither")
    try:
        made = ssl.create_default_context(cafile=found["ssl_ca"])
        if "ssl_cert" in found:
            made.load_cert_chain(found["ssl_cert"], found["ssl_key"], password=_no_password)
    except (OSError, ValueError) as error:  # of ssl, too
        raise InvalidSetting("DATABASE_URL", f"names files for TLS that cannot be used: {error}") from None
    # As PyMySQL does, so that one URL works for both: MySQL's own certificates fail what Python 3.13 is strict about.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made


def _no_password() -> str:
    """Instead of asking for it at the terminal."""
    raise ValueError("the key has a password")
