"""A bounded pool of connections that speaks in rows and counts; the only module that knows the driver."""

import asyncio
import logging
import math
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

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
_RECYCLE_AFTER_IDLE = 300  # seconds; well below any sensible wait_timeout
# `innodb_lock_wait_timeout`: the server must not go on waiting for a lock long after we gave up.
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
        self._address = address
        self._size = size
        self._timeout = timeout
        # Nobody waits inside aiomysql's pool: it never times out, is not fair, and can lose a wake-up.
        self._places = asyncio.Semaphore(size)

    async def __aenter__(self) -> Self:
        # No connection yet, so that a database that is down delays nothing; the pool fills on demand.
        self._pool = await aiomysql.create_pool(
            minsize=0,
            maxsize=self._size,
            pool_recycle=_RECYCLE_AFTER_IDLE,
            host=self._address.host,
            port=self._address.port,
            user=self._address.user,
            password=self._address.password,
            db=self._address.name,
            unix_socket=self._address.unix_socket,
            charset="utf8mb4",
            autocommit=True,
            init_command=_SESSION % math.ceil(self._timeout),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._pool.clear()
                self._pool.close()
                await self._pool.wait_closed()
        self._pool.terminate()

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
        connection = await self._pool.acquire()
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(statement, arguments)
                return list(await cursor.fetchall()), cursor.rowcount
        except pymysql.MySQLError as error:
            if _code(error) in _LOST:
                connection.close()
            raise
        finally:
            self._pool.release(connection)


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
