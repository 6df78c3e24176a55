"""Connections to the database of a run, as the service and as its administrator."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pymysql
from pymysql.cursors import Cursor

from service.address import DatabaseAddress
from service.mariadb import account


@contextmanager
def connect(url: str) -> Iterator[Cursor]:
    """A cursor on the database at `url`; times are UTC, each statement is a transaction."""
    at = DatabaseAddress.from_url(url)
    with (
        closing(
            pymysql.connect(
                host=at.host,
                port=at.port,
                user=at.user,
                password=at.password,
                database=at.name,
                autocommit=True,
                init_command="set time_zone = '+00:00'",
            )
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


class Administrator:
    """Who may do more than the service and sees what it does.

    Logs in anew for each question: the database may have been killed in between.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def connect(self, **options: Any) -> "pymysql.Connection[Cursor]":
        """A connection; `options` are PyMySQL's."""
        return pymysql.connect(
            unix_socket=str(self._socket), user=account(), autocommit=True, connect_timeout=2, **options
        )

    def ask(self, statement: str, *arguments: object) -> tuple[tuple[Any, ...], ...]:
        """The rows of one statement."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments or None)  # else a % would ask for some
            return cursor.fetchall()

    def connections(self) -> list[int]:
        """The ids of those that the service has, as its database counts them."""
        rows = self.ask("select id from information_schema.processlist where user = 'auth'")
        return [row[0] for row in rows]

    def sessions(self, users: str) -> set[str]:
        """The ids of those whose users have such a name."""
        rows = self.ask(
            "select refresh_tokens.id from auth.refresh_tokens join auth.users on users.id = user_id "
            "where username like %s",
            users,
        )
        return {row[0] for row in rows}

    def pings(self) -> bool:
        try:
            self.ask("select 1")
        except pymysql.MySQLError:
            return False
        return True
