"""Users and sessions, put into the database directly, and the tokens that fit them.

The first half of the sessions is one generation ahead of its tokens, as that of a client which ignores rotation.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import bcrypt
from uuid_utils.compat import uuid7

from bench.database import connect
from bench.progress import counted
from service.keys import KeyRing, secret_key
from service.tokens import Tokens

SECRET = "for-the-bench-only-0123456789abcdefghij"  # noqa: S105  # of a server that lives for minutes
PASSWORD = "correct horse"  # noqa: S105
TOKENS = Tokens(KeyRing(secret_key(SECRET.encode())), access_lifetime=300)
BATCH = 2000
R = TypeVar("R")


def lasting_token(*, user_id: str, username: str, session_id: str) -> str:
    """An access token for the longest run: issued tomorrow, since verify takes none for long after its `iat`."""
    tomorrow = int(time.time()) + 86400
    return TOKENS.issue_access(user_id=user_id, username=username, session_id=session_id, now=tomorrow)


def seed(url: str, folder: Path, *, users: int, sessions: int, rounds: int = 12) -> None:
    """Writes logins, signups, access and refresh tokens, a line each, to files in `folder`."""
    now = int(time.time())
    moment, until = (datetime.fromtimestamp(t, UTC).replace(tzinfo=None) for t in (now, now + 7 * 86400))
    stored = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds)).decode()
    names = [(str(uuid7()), f"user-{number:05}") for number in range(users)]
    opened = [(str(uuid7()), *names[number % users]) for number in range(sessions)]
    with connect(url) as cursor:
        for batch in _batches(names, "users"):
            cursor.executemany(
                "insert into users (id, username, username_key, password_hash, created_at) values (%s, %s, %s, %s, %s)",
                [(user_id, name, name, stored, moment) for user_id, name in batch],
            )
        for rows in _batches(opened, "sessions"):
            cursor.executemany(
                "insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)"
                " values (%s, %s, 0, %s, %s, %s)",
                [(session, user_id, moment, until, moment) for session, user_id, _ in rows],
            )
        cursor.execute("update refresh_tokens set generation = 1 order by id limit %s", sessions // 2)
    _write(folder / "logins", (f'{{"username":"{name}","password":"{PASSWORD}"}}' for _, name in names))
    _write(folder / "access", (lasting_token(user_id=u, username=name, session_id=s) for s, u, name in opened))
    _write(
        folder / "refresh",
        (
            TOKENS.issue_refresh(
                user_id=u, username=name, session_id=s, generation=0, issued_at=now, expires_at=now + 7 * 86400
            )
            for s, u, name in opened
        ),
    )
    (folder / "one").write_text((folder / "access").read_text().splitlines()[0] + "\n")


def new_signups(path: Path, *, count: int) -> None:
    """Writes bodies of signups, a line each, with names that nobody has had before."""
    prefix = uuid7().hex
    _write(path, (f'{{"username":"{prefix}-{number}","password":"{PASSWORD}"}}' for number in range(count)))


def _write(path: Path, lines: Iterator[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _batches(rows: Sequence[R], what: str) -> Iterator[Sequence[R]]:
    for start in counted(range(0, len(rows), BATCH), f"seeding {what}"):
        yield rows[start : start + BATCH]
