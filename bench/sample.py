"""What is taken from a database full of sessions: tokens of some, and its size."""

import random
from pathlib import Path

from bench.database import connect
from bench.seed import TOKENS

SAMPLE = 20_000  # sessions that are refreshed, or all where there are fewer
_SAMPLE = """
    select refresh_tokens.id, user_id, username, generation, unix_timestamp(rotated_at), unix_timestamp(expires_at)
    from refresh_tokens
    join users on users.id = user_id
    where crc32(refresh_tokens.id) %% %s = 0 and expires_at > utc_timestamp()
    limit %s
"""


def bytes_a_session(url: str, size: int) -> float:
    """What the table of sessions takes with its indexes, divided by its rows."""
    with connect(url) as cursor:
        cursor.execute("analyze table refresh_tokens")  # a server counts by itself only after a while
        cursor.execute(
            "select data_length + index_length from information_schema.tables"
            " where table_schema = database() and table_name = 'refresh_tokens'"
        )
        [(length,)] = cursor
    return float(length) / size


def write_tokens(path: Path, url: str, size: int, *, behind: int) -> None:
    """Writes refresh tokens of sessions from all over the table, a line each, so many generations behind them."""
    with connect(url) as cursor:
        cursor.execute(_SAMPLE, (max(1, size // SAMPLE), SAMPLE))
        lines = [
            TOKENS.issue_refresh(
                user_id=user,
                username=name,
                session_id=session,
                generation=generation - behind,
                issued_at=int(issued),
                expires_at=int(expires),
            )
            for session, user, name, generation, issued, expires in cursor
        ]
    random.shuffle(lines)
    path.write_text("\n".join(lines) + "\n")
