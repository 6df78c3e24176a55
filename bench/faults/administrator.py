"""The administrator of a database, who may do more than the service and sees what it does."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql

from service.mariadb import account


class Administrator:
    """Logs in anew for each question: the database may have been killed in between."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def connect(self, **options: Any) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        """As the administrator of the database, who may do more than the service."""
        return pymysql.connect(
            unix_socket=str(self._socket), user=account(), autocommit=True, connect_timeout=2, **options
        )

    def ask(self, statement: str, *arguments: object) -> tuple[tuple[Any, ...], ...]:
        """Runs one statement as the administrator."""
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
