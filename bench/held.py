"""Connections that stay open, to see what each of them costs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import takewhile
from urllib.parse import urlsplit

from bench.progress import counted


@contextmanager
def held(url: str, count: int) -> Iterator[Sequence[HTTPConnection]]:
    """So many connections, not opened yet; closed at the end."""
    address = urlsplit(url)
    connections = [HTTPConnection(str(address.hostname), address.port, timeout=5) for _ in range(count)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def answered(connections: Sequence[HTTPConnection], token: str) -> int:
    """How many, asked one after the other to verify a token, answer 200 and stay open; the first failure ends it."""
    return sum(1 for _ in takewhile(lambda each: _answers(each, token), counted(connections, "asking connections")))


def _answers(connection: HTTPConnection, token: str) -> bool:
    try:
        connection.request("GET", "/auth/verify", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, HTTPException):
        return False
    connection.auto_open = 0  # the connection that was opened by this must serve the next request, too
    return answer.status == 200 and connection.sock is not None
