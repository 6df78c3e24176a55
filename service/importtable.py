"""Users in the table of the service that this one replaces, read in pages by their ids."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from service.database import Database
from service.imports import Candidate, Refusal, UnusableSource
from service.queries import original_users
from service.queries.original_users import OriginalUser


class Page(NamedTuple):
    """Some rows, and the id of the last; there are no more when there are none."""

    lines: Sequence[Candidate | Refusal]
    last_id: Any


async def read_page(database: Database, table: str, after: Any, limit: int) -> Page:
    """The next rows past an id, from the start when that is None. Raises UnusableSource, Unavailable."""
    rows = await original_users.find_page(database, table, after, limit)
    if any(not isinstance(row.id, int | str) for row in rows):
        raise UnusableSource("its column id holds neither numbers nor text")
    return Page([_line(row) for row in rows], rows[-1].id if rows else after)


def _line(row: OriginalUser) -> Candidate | Refusal:
    where = f"id {row.id}"
    try:
        username, password_hash = (
            value.decode() if isinstance(value, bytes) else value for value in (row.username, row.password or "")
        )
    except UnicodeDecodeError:
        return Refusal(where, "it is not UTF-8")
    if not isinstance(username, str) or not isinstance(password_hash, str):
        return Refusal(where, "username and password must be text")
    return Candidate(where, username, password_hash, None)
