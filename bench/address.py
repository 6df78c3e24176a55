"""Which services may be loaded: those on this machine, unless somebody says that another is meant."""

import ipaddress
import socket
from urllib.parse import urlsplit


class AddressRefusedError(Exception):
    """The text is a sentence for the one at the terminal."""


def permitted(url: str, *, allow_remote: bool) -> str:
    """The URL as `http://host:port`. Raises AddressRefusedError."""
    try:
        parts = urlsplit(url)
        default = {"http": 80, "https": 443}[parts.scheme]
        port = default if parts.port is None else parts.port
    except (KeyError, ValueError):
        raise AddressRefusedError(f"{url!r} is not a URL such as http://127.0.0.1:5000") from None
    if not parts.hostname or parts.username or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise AddressRefusedError(f"{url!r} has to be a scheme, a host and a port: the paths are the contract's")
    addresses = _resolve(parts.hostname, port)
    if not allow_remote and not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise AddressRefusedError(f"{parts.hostname} is not this machine; --allow-remote loads it all the same")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def _resolve(host: str, port: int) -> list[str]:
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise AddressRefusedError(f"{host} cannot be resolved: {error}") from None
