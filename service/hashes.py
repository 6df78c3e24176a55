"""Password hashes of other services: which forms are known, and what verifying one may cost.

The cost stands in the hash itself, so one that was brought along could keep a hashing thread for days. The limits come
to about two seconds of one core, and 256 MiB.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

WORDPRESS = "$wp$"  # bcrypt of an HMAC, since WordPress 6.8
LONGEST = 255  # characters; the column's
BCRYPT_ROUNDS = range(4, 15 + 1)  # powers of two
WORDPRESS_ROUNDS = range(4, 14 + 1)  # a password may have two spellings
PHPASS_ROUNDS = range(7, 18 + 1)  # powers of two
SHA512_ROUNDS = range(1000, 1_000_000 + 1)
PBKDF2_ROUNDS = range(1, 3_000_000 + 1)
ARGON2_MEMORY = 262_144  # KiB
ARGON2_WORK = 1_048_576  # KiB of memory, over all passes
ARGON2_LANES = 16
ARGON2_THREADS = 1024  # each pass starts some anew for each lane, which takes longer than little memory

_CRYPT64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_CRYPT = r"[./A-Za-z0-9]"
_NUMBER = r"[1-9][0-9]{0,9}"
# Bits of a last character that mean nothing, as also in bcrypt's salt and digest, are 0 in the only right spelling.
_BASE64 = r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048])?"
_AB64 = rf"(?:{_CRYPT}{{4}})*(?:{_CRYPT}[AQgw]|{_CRYPT}{{2}}[AEIMQUYcgkosw048])?"
_BCRYPT = rf"\$2[aby]\$(?P<rounds>[0-9]{{2}})\${_CRYPT}{{21}}[.Oeu]{_CRYPT}{{30}}[.26CGKOSWaeimquy]"
_ARGON2 = (
    rf"\$argon2id(\$v=(16|19))?\$m=(?P<memory>{_NUMBER}),t=(?P<passes>{_NUMBER}),p=(?P<lanes>{_NUMBER})"
    rf"\$(?=[^$]{{11}}){_BASE64}\$(?=[^$]{{16}}){_BASE64}"
)
_PBKDF2 = rf"\$(?P<rounds>{_NUMBER})\${_AB64}\${_CRYPT}"
_DJANGO = rf"pbkdf2_sha256\$(?P<rounds>{_NUMBER})\$[A-Za-z0-9]+\$[A-Za-z0-9+/]{{43}}="
_SHA512 = rf"\$6\$(rounds=(?P<rounds>{_NUMBER})\$)?{_CRYPT}{{0,16}}\${_CRYPT}{{86}}"
_PHPASS = rf"\$[PH]\$(?P<mark>{_CRYPT}){_CRYPT}{{30}}"


class UnusableHash(ValueError):
    """What can't be taken over as a password hash; the text says why and quotes nothing of it."""


class _Form(NamedTuple):
    name: str
    prefix: str
    pattern: str
    excess: Callable[[Mapping[str, str | None]], str | None]


def check(stored_hash: str) -> None:
    """Accepts the hash of a scheme that `service.passwords` verifies. Raises UnusableHash."""
    if not stored_hash:
        raise UnusableHash("there is no password hash")
    if len(stored_hash) > LONGEST:
        raise UnusableHash(f"the password hash has more than {LONGEST} characters")
    for form in _FORMS:
        if stored_hash.startswith(form.prefix):
            match = re.fullmatch(form.pattern, stored_hash)
            if not match:
                raise UnusableHash(f"a malformed hash of {form.name}")
            if excess := form.excess(match.groupdict()):
                raise UnusableHash(f"a hash of {form.name} with {excess}")
            return
    raise UnusableHash("no password hash of a scheme that is known; a plain-text password is never stored")


def _rounds(allowed: range) -> Callable[[Mapping[str, str | None]], str | None]:
    def excess(found: Mapping[str, str | None]) -> str | None:
        rounds = int(found["rounds"] or allowed.start)  # sha512_crypt's own, where none are named, are few
        return None if rounds in allowed else f"{rounds} rounds, not {allowed.start} to {allowed.stop - 1}"

    return excess


def _phpass_excess(found: Mapping[str, str | None]) -> str | None:
    rounds = _CRYPT64.index(found["mark"] or "")
    allowed = PHPASS_ROUNDS
    return None if rounds in allowed else f"2^{rounds} rounds, not 2^{allowed.start} to 2^{allowed.stop - 1}"


def _argon2_excess(found: Mapping[str, str | None]) -> str | None:
    memory, passes, lanes = (int(found[name] or 0) for name in ("memory", "passes", "lanes"))
    if not 8 * lanes <= memory <= ARGON2_MEMORY:  # RFC 9106 §3.1
        return f"m={memory}, not 8 p to {ARGON2_MEMORY}"
    if memory * passes > ARGON2_WORK:
        return f"m times t = {memory * passes}, not {ARGON2_WORK} at most"
    if passes * lanes > ARGON2_THREADS:
        return f"t times p = {passes * lanes}, not {ARGON2_THREADS} at most"
    return f"p={lanes}, not {ARGON2_LANES} at most" if lanes > ARGON2_LANES else None


_FORMS = (
    _Form("bcrypt", "$2", _BCRYPT, _rounds(BCRYPT_ROUNDS)),
    _Form("bcrypt in WordPress", WORDPRESS, rf"\$wp{_BCRYPT}", _rounds(WORDPRESS_ROUNDS)),
    _Form("argon2id", "$argon2id$", _ARGON2, _argon2_excess),
    _Form("Django's pbkdf2_sha256", "pbkdf2_sha256$", _DJANGO, _rounds(PBKDF2_ROUNDS)),
    _Form("pbkdf2-sha256", "$pbkdf2-sha256$", rf"\$pbkdf2-sha256{_PBKDF2}{{43}}", _rounds(PBKDF2_ROUNDS)),
    _Form("pbkdf2-sha512", "$pbkdf2-sha512$", rf"\$pbkdf2-sha512{_PBKDF2}{{86}}", _rounds(PBKDF2_ROUNDS)),
    _Form("sha512_crypt", "$6$", _SHA512, _rounds(SHA512_ROUNDS)),
    _Form("phpass", "$P$", _PHPASS, _phpass_excess),
    _Form("phpass", "$H$", _PHPASS, _phpass_excess),
)
