"""A bounded pool of connections that speaks in rows and counts; the only module that knows the driver."""

import asyncio
import logging
import struct
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiomysql
import pymysql

from service.errors import DatabaseUnavailable, Overloaded
from service.settings import DatabaseAddress

log = logging.getLogger(__name__)
Row = tuple[Any, ...]

_DUPLICATE_KEY = 1062
_NO_SUCH_TABLE = 1146
# The connection is of no more use: gone away, lost, out of step, closed by a timeout, killed, server shutting down.
_LOST = {0, 2006, 2013, 2014, 2055, 1927, 1053}
_RETRIED = _LOST | {1205, 1213}  # and: lock wait timeout, deadlock
_CANNOT_CONNECT = 2003
_LONGEST_IDLE = 300  # seconds; well below any sensible wait_timeout
# `innodb_lock_wait_timeout`: half of our own, so that a second attempt fits in, and nothing waits after we gave up.
_SESSION = (
    "set session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', "
    "innodb_lock_wait_timeout = %d"
)


class DuplicateKey(Exception):
    """A unique index already holds such a row."""


class Database:
    """Runs single, autocommitted statements; each is answered, or refused, within `timeout` seconds.

    A statement must be safe to repeat: it is tried again once when its connection turns out to be lost, or after a
    deadlock. Raises Overloaded when the pool stays full or the server slow, DatabaseUnavailable when it can't be
    reached, DuplicateKey.
    """

    def __init__(self, address: DatabaseAddress, *, size: int, timeout: float) -> None:
        self._timeout = timeout
        # Not aiomysql's pool: it makes everybody wait behind one slow handshake, never times out and is not fair.
        self._places = asyncio.Semaphore(size)
        self._idle: list[aiomysql.Connection] = []
        self._connect = partial(
            aiomysql.connect,
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            db=address.name,
            unix_socket=address.unix_socket,
            charset="utf8mb4",
            autocommit=True,
            init_command=_SESSION % max(1, timeout // 2),
        )

    async def close(self) -> None:
        """Says goodbye to the server on all idle connections, for a second at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._idle:
                    await self._idle.pop().ensure_closed()
        self._drop_idle()

    async def fetch_one(self, statement: str, *arguments: object) -> Row | None:
        """The first row, or None."""
        rows, _ = await self._run(statement, arguments)
        return rows[0] if rows else None

    async def fetch_all(self, statement: str, *arguments: object) -> list[Row]:
        """Every row."""
        rows, _ = await self._run(statement, arguments)
        return rows

    async def execute(self, statement: str, *arguments: object) -> int:
        """The number of rows that the statement inserted, changed or deleted."""
        _, count = await self._run(statement, arguments)
        return count

    async def _run(self, statement: str, arguments: Row) -> tuple[list[Row], int]:
        try:
            async with asyncio.timeout(self._timeout), self._places:
                try:
                    return await self._attempt(statement, arguments)
                except pymysql.MySQLError as error:
                    if _code(error) not in _RETRIED:
                        raise
                    return await self._attempt(statement, arguments)
        except TimeoutError:
            log.warning("database_timeout", extra={"seconds": self._timeout})
            raise Overloaded from None
        except pymysql.MySQLError as error:
            raise _translated(error) from error

    async def _attempt(self, statement: str, arguments: Row) -> tuple[list[Row], int]:
        connection = await self._acquire()
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement, arguments)
                return list(await cursor.fetchall()), cursor.rowcount
        except pymysql.MySQLError as error:
            if _code(error) in _LOST:
                connection.close()
                self._drop_idle()  # most likely they are lost too, and there is only one more attempt
            raise
        except BaseException:
            connection.close()  # cancelled; an answer may still be under way
            raise
        finally:
            if not connection.closed:
                self._idle.append(connection)

    async def _acquire(self) -> aiomysql.Connection:
        while self._idle:
            connection = self._idle.pop()
            if asyncio.get_running_loop().time() - connection.last_usage < _LONGEST_IDLE:
                return connection
            connection.close()
        try:
            return await self._connect()
        except (struct.error, IndexError, ValueError) as error:  # what answers there does not speak the protocol
            raise pymysql.OperationalError(_CANNOT_CONNECT, repr(error)) from error

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def _code(error: pymysql.MySQLError) -> int:
    """The server's or the client's error number; 0 where the driver gives only a text."""
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def _translated(error: pymysql.MySQLError) -> Exception:
    code = _code(error)
    if code == _DUPLICATE_KEY:
        return DuplicateKey()
    # Whatever keeps a sound statement from running: no server, no rights, no space, read-only, no schema.
    if (
        isinstance(error, pymysql.OperationalError | pymysql.InternalError | pymysql.InterfaceError)
        or code == _NO_SUCH_TABLE
    ):
        log.error("database_error", extra={"number": code, "detail": str(error)})
        return DatabaseUnavailable()
    return error


def moment(seconds_since_1970: int) -> datetime:
    """As the database keeps time: UTC, without a zone."""
    return datetime.fromtimestamp(seconds_since_1970, UTC).replace(tzinfo=None)
