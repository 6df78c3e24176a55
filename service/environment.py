"""Environment variables, read and checked one at a time."""

import os
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

SAMPLE_SECRET = "replace-this-with-32-random-bytes-or-more"  # noqa: S105  # it is refused
_KEY_FILE_MARKS = (b"-----BEGIN", b"---- BEGIN", b"ssh-", b"ecdsa-sha2-", b"-cert-v01@openssh.com")
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[a-z0-9._\[:\]-]+")  # as browsers write it: RFC 6454 §6.1
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
LONGEST_CLAIM = 200  # characters
_TEN_YEARS = 3650 * 86400


class InvalidSetting(ValueError):
    """A setting is missing or unusable; the text begins with its name and never quotes a secret."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


class Environment:
    """Reads one variable at a time; empty counts as absent, as it does in an `.env` file."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str, default: str) -> str:
        return self._environ.get(name, "").strip() or default

    def secret_text(self, name: str) -> str:
        """The text of `name`, or of the file that `name`_FILE names, as secrets are handed to containers and units."""
        text, path = self.text(name, ""), self.text(f"{name}_FILE", "")
        if text and path:
            raise InvalidSetting(name, f"and {name}_FILE are both set: only one of them may be")
        try:
            text = Path(path).read_bytes().decode("utf-8", "surrogateescape").strip() if path else text
        except OSError as error:
            raise InvalidSetting(f"{name}_FILE", f"must name a readable file, not {path!r}: {error.strerror}") from None
        if path and (text.startswith("\ufeff") or (len(text.splitlines()) > 1 and _is_text(text))):
            raise InvalidSetting(f"{name}_FILE", "must hold one line, without a byte order mark before it")
        return text

    def required(self, name: str) -> str:
        value = self.secret_text(name)
        if not value:
            raise InvalidSetting(name, "is not set")
        return value

    def path(self, name: str) -> Path | None:
        text = self.text(name, "")
        return Path(text) if text else None

    def folder(self, name: str) -> Path | None:
        """Of a variable that somebody else reads too, for whom empty is not absent."""
        text = self._environ.get(name)
        if text is not None and not (Path(text or "/nowhere").is_dir() and os.access(text, os.W_OK | os.X_OK)):
            raise InvalidSetting(name, f"must name a folder that can be written to, or not be set, not {text!r}")
        return Path(text) if text else None

    def secret(self, name: str) -> bytes | None:
        text = self.secret_text(name)
        return _secret(name, text) if text else None

    def secrets(self, name: str) -> tuple[bytes, ...]:
        texts = (text.strip() for text in self.secret_text(name).split(","))
        return tuple(_secret(name, text, "holds, between commas, what ") for text in texts if text)

    def client_secret(self, name: str) -> bytes | None:
        """A secret that is the same whether or not a client encodes it as in a form (RFC 6749 §2.3.1)."""
        secret = self.secret(name)
        if secret and not re.fullmatch(rb"[A-Za-z0-9._~-]+", secret):
            raise InvalidSetting(name, "must be letters, digits, and . _ ~ - alone: openssl rand -hex 32")
        return secret

    def claim(self, name: str) -> str | None:
        value = self.text(name, "")
        if len(value) > LONGEST_CLAIM or not value.isprintable():
            raise InvalidSetting(name, f"must be text of {LONGEST_CLAIM} characters at most: it stands in every token")
        return value or None

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        text = self.text(name, str(default))
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise InvalidSetting(name, f"must be a whole number from {low} to {high}, not {text!r}")
        return int(text)

    def duration(self, name: str, default: int, *, least: int = 1) -> int:
        text = self.text(name, str(default))
        match = re.fullmatch(r"([0-9]{1,9})([smhd]?)", text)
        seconds = int(match[1]) * UNITS[match[2]] if match else 0
        if not match or not least <= seconds <= _TEN_YEARS:
            raise InvalidSetting(name, f"must be a duration such as 300, 5m, 12h or 7d, not {text!r}")
        return seconds

    def optional_duration(self, name: str) -> int | None:
        return self.duration(name, 0) if self.text(name, "") else None

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default).upper()
        if value not in choices:
            raise InvalidSetting(name, f"must be one of {', '.join(choices)}, not {value!r}")
        return value

    def origins(self, name: str, default: str) -> tuple[str, ...]:
        origins = tuple(self.text(name, default).replace(",", " ").split())
        for origin in origins:
            if not _ORIGIN.fullmatch(origin):
                raise InvalidSetting(name, f"must hold origins such as https://app.example, *, or null; not {origin!r}")
        return origins

    def networks(self, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
        texts = (text.strip() for text in self.text(name, "").split(","))
        return tuple(_network(name, text) for text in texts if text)

    def lines_of_file(self, name: str) -> frozenset[str]:
        path = self.text(name, "")
        try:
            return frozenset(Path(path).read_text("utf-8-sig").splitlines()) if path else frozenset()
        except (OSError, UnicodeDecodeError):
            raise InvalidSetting(name, f"must name a readable UTF-8 file, not {path!r}") from None


def _is_text(text: str) -> bool:
    """Whether it was UTF-8; random bytes are a secret too."""
    return not any("\udc80" <= character <= "\udcff" for character in text)


def _network(name: str, text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text)
    except ValueError:
        raise InvalidSetting(name, f"must hold addresses and networks such as 10.0.0.0/24; not {text!r}") from None
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped and network.prefixlen >= 96:
        network = IPv4Network((mapped, network.prefixlen - 96))
    if network.prefixlen == 0:
        raise InvalidSetting(name, f"must not hold {text}: anybody could say to be anybody else")
    return network


def _secret(name: str, text: str, place: str = "") -> bytes:
    secret = text.encode("utf-8", "surrogateescape")
    if len(secret) < 32:  # RFC 7518 §3.2: a key of the hash's size or larger
        raise InvalidSetting(name, f"{place}must be 32 bytes at least; it has {len(secret)}")
    if text == SAMPLE_SECRET or any(mark in secret for mark in _KEY_FILE_MARKS):
        raise InvalidSetting(
            name, f"{place}must be your own random text, no sample and no key file: openssl rand -hex 32"
        )
    return secret
