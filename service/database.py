"""Statements and transactions, each answered or refused in time; speaks in rows and counts."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import pymysql
from pymysql.constants import ER

from service.address import DatabaseAddress
from service.errors import DatabaseUnavailable, Overloaded
from service.pool import Connection, Pool, code_of, is_lost

log = logging.getLogger(__name__)
Row = tuple[Any, ...]
T = TypeVar("T")

# Of rows, and of the counter that numbers them; of a snapshot whose row has changed; with another node, at the commit.
_DEADLOCKS = {1213, 1467, 1020, 3101}
_MOST_DEADLOCKS = 5  # after which there is another attempt
_PAUSE = 0.01  # seconds, at most, before it; each time twice as long


class DuplicateKey(Exception):
    """A unique index already holds such a row."""


class Statements:
    """What runs single statements: the database, each by itself, or a transaction."""

    def __init__(self, run: Callable[[str, Row], Awaitable[tuple[list[Row], int]]]) -> None:
        self._run = run

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


class Database(Statements):
    """Runs autocommitted statements, and transactions; each is answered, or refused, within `timeout` seconds.

    Either must be safe to repeat: it is tried again once when its connection turns out to be lost or a lock is not to
    be had, and after each of a few deadlocks. Raises Overloaded when the pool stays full or the server slow,
    DatabaseUnavailable when it can't be reached, DuplicateKey.
    """

    def __init__(
        self, address: DatabaseAddress, *, size: int, timeout: float, waited: Callable[[float], None] | None = None
    ) -> None:
        super().__init__(lambda statement, arguments: self._attempt_again(partial(_execute, statement, arguments)))
        self._timeout = timeout
        # Half of our own, so that a second attempt fits in, and nothing waits after we gave up.
        self._pool = Pool(address, size=size, lock_wait=max(1, int(timeout // 2)), waited=waited)

    @property
    def in_use(self) -> int:
        """How many connections statements and transactions hold."""
        return self._pool.in_use

    def reconnect(self) -> None:
        """Gives the next statements new connections, which may reach another server."""
        self._pool.drop()

    async def close(self) -> None:
        """Says goodbye to the server, for a second at most."""
        await self._pool.close()

    async def transact(self, work: Callable[[Statements], Awaitable[T]]) -> T:
        """What `work` returns, once all of its statements have happened together; whatever it raises undoes them.

        It holds a connection and locks, so it may wait for nothing but its own statements.
        """
        return await self._attempt_again(partial(_in_transaction, work))

    async def insert_many(self, statement: str, rows: Sequence[Row]) -> None:
        """Inserts the rows, one at least, with an `insert` of one; the driver sends many in a statement."""
        await self._attempt_again(partial(_insert_many, statement, rows))

    async def _attempt_again(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        deadlocks = others = 0
        try:
            async with asyncio.timeout(self._timeout), self._pool.place():
                while True:
                    try:
                        async with self._pool.connection() as connection:
                            return await work(connection)
                    except pymysql.MySQLError as error:
                        if code_of(error) in _DEADLOCKS:
                            deadlocks += 1
                        else:
                            others += 1
                        if not _may_pass(error) or others > 1 or deadlocks > _MOST_DEADLOCKS:
                            raise
                    if deadlocks:
                        await asyncio.sleep(random.uniform(0, _PAUSE * 2 ** (deadlocks - 1)))  # noqa: S311  # no secret
        except TimeoutError:
            log.warning("database_timeout", extra={"seconds": self._timeout})
            raise Overloaded from None
        except pymysql.MySQLError as error:
            raise _translated(error) from error


def _may_pass(error: pymysql.MySQLError) -> bool:
    """Whether another attempt may succeed at once."""
    return is_lost(error) or code_of(error) in {ER.LOCK_WAIT_TIMEOUT, *_DEADLOCKS}


async def _execute(statement: str, arguments: Row, connection: Connection) -> tuple[list[Row], int]:
    async with connection.cursor() as cursor:
        await cursor.execute(statement, arguments)
        return list(await cursor.fetchall()), cursor.rowcount


async def _insert_many(statement: str, rows: Sequence[Row], connection: Connection) -> None:
    async with connection.cursor() as cursor:
        await cursor.executemany(statement, rows)


async def _in_transaction(work: Callable[[Statements], Awaitable[T]], connection: Connection) -> T:
    await connection.begin()
    try:
        result = await work(Statements(partial(_execute, connection=connection)))
        await connection.commit()
    except pymysql.MySQLError:
        with suppress(pymysql.MySQLError):  # the first one says more
            await connection.rollback()
        raise
    return result


def _translated(error: pymysql.MySQLError) -> Exception:
    code = code_of(error)
    if code == ER.DUP_ENTRY:
        return DuplicateKey()
    # Whatever keeps a sound statement from running: no server, no rights, no space, read-only, no schema.
    if (
        isinstance(error, pymysql.OperationalError | pymysql.InternalError | pymysql.InterfaceError)
        or code == ER.NO_SUCH_TABLE
    ):
        log.error("database_error", extra={"number": code, "detail": str(error)})
        return DatabaseUnavailable()
    return error


def moment(seconds_since_1970: int) -> datetime:
    """As the database keeps time: UTC, without a zone."""
    return datetime.fromtimestamp(seconds_since_1970, UTC).replace(tzinfo=None)
