"""Users in the table of the service that this one replaces."""

from service.imports import Candidate, Refusal, UnusableSource
from service.queries.original_users import OriginalUser


def read_row(row: OriginalUser) -> Candidate | Refusal:
    """A candidate, or a refusal. Raises UnusableSource where the table can't be read in the order of its ids."""
    if not isinstance(row.id, int | str):
        raise UnusableSource("its column id holds neither numbers nor text")
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
