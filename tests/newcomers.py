"""Users of another service, as it exports them: `python -m tests.newcomers 1000000 > users.csv`."""

import sys
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import bcrypt
import passlib.hash

PASSWORD = "correct horse battery"
schemes: Any = passlib.hash  # its types are those of a half


def foreign_hashes(password: str, *, cheap: bool = True) -> dict[str, str]:
    """The password's hash under each scheme that is taken over, as other software writes it."""
    rounds = 1000 if cheap else 600_000
    makers = {
        "bcrypt 2a": schemes.bcrypt.using(rounds=4 if cheap else 12, ident="2a"),
        "bcrypt 2b": schemes.bcrypt.using(rounds=4 if cheap else 12, ident="2b"),
        "bcrypt 2y": schemes.bcrypt.using(rounds=4 if cheap else 12, ident="2y"),
        "argon2id": schemes.argon2.using(
            type="ID", memory_cost=64 if cheap else 65_536, rounds=1 if cheap else 3, parallelism=4
        ),
        "django": schemes.django_pbkdf2_sha256.using(rounds=rounds),
        "phpass P": schemes.phpass.using(rounds=7 if cheap else 13),
        "phpass H": schemes.phpass.using(rounds=7 if cheap else 13, ident="$H$"),
        "sha512_crypt": schemes.sha512_crypt.using(rounds=rounds),
        "sha512_crypt without rounds": schemes.sha512_crypt.using(rounds=5000),
        "pbkdf2-sha256": schemes.pbkdf2_sha256.using(rounds=rounds),
        "pbkdf2-sha512": schemes.pbkdf2_sha512.using(rounds=rounds),
    }
    return {name: maker.hash(password) for name, maker in makers.items()}


def rows(count: int, prefix: str = "Newcomer") -> Iterator[tuple[str, str]]:
    """Names and hashes; the hashes, cheap ones of PASSWORD, are few and repeat."""
    few = [bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode() for _ in range(5)]
    return ((f"{prefix}-{number}", found) for number, found in zip(range(count), cycle(few), strict=False))


def csv(count: int, prefix: str = "Newcomer") -> str:
    """The rows as an export."""
    return "".join(["username,password_hash\n", *(f"{name},{found}\n" for name, found in rows(count, prefix))])


if __name__ == "__main__":
    sys.stdout.writelines(["username,password_hash\n"])
    sys.stdout.writelines(f"{name},{found}\n" for name, found in rows(int(sys.argv[1])))
