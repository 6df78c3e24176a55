"""Which address a request came from, behind proxies too."""

import logging
import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.types import Scope

_TRANSLATED = IPv6Network("64:ff9b::/96")
_WITH_PORT = re.compile(r"\[([^\[\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")

log = logging.getLogger(__name__)


class Clients:
    """Finds the client of a request: its TCP peer, or whom that speaks for, if it is a `trusted` proxy."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = trusted
        self._told: set[str] = set()

    def address_of(self, scope: Scope) -> str | None:
        """The client's IP address; None where there is none, as on a Unix socket.

        Each proxy appends whom it heard from, so X-Forwarded-For is walked from its end, and no further than the first
        that is not trusted: what stands before may be the client's own invention.
        """
        host, port = scope["client"] or ("", None)
        client = _parsed(host)
        said = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        if not said:
            return str(client) if client else None
        if port == 0:  # no peer has it: uvicorn has been there
            if self._is_news("twice"):
                log.warning("proxy_headers_twice", extra={"hint": "run uvicorn with --no-proxy-headers"})
        elif not self._trusts(client) and self._is_news("ignored"):
            log.warning("forwarded_header_ignored", extra={"hint": "is a proxy of yours missing in TRUSTED_PROXIES?"})
        hops = b",".join(said).decode("latin-1").split(",")
        while self._trusts(client) and hops and (hop := _parsed(hops.pop())):
            client = hop
        return str(client) if client else None

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted)

    def _is_news(self, what: str) -> bool:
        is_news = what not in self._told
        self._told.add(what)
        return is_news


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Without zone, brackets and port.

    One of IPv4 that is spelt as one of IPv6 is itself, mapped (RFC 4291 §2.5.5.2) or translated (RFC 6052 §2.1).
    """
    text = text.strip()
    if match := _WITH_PORT.fullmatch(text):
        text = match[1] or match[2] or ""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address in _TRANSLATED:  # all of IPv4 would be one /64
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
