"""A bounded pool of connections to the database; the only module that knows aiomysql."""

import asyncio
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

import aiomysql
import pymysql
from pymysql.constants import CLIENT, CR

from service.address import DatabaseAddress

Connection: TypeAlias = aiomysql.Connection

# The connection is of no more use: gone, lost, out of step, timed out, killed, begun read-only; or its server ends, is
# read-only, or is a Galera node without majority or still joining. The next one may reach another.
_LOST = {0, 2006, 2013, 2014, 2055, 1927, 1053, 1047, 1290, 1836, 1792}
_LONGEST_IDLE, _WAIT = 300, 330  # seconds; the server ends a connection on which it heard nothing for so long
# Whatever the server prefers. What the driver says of it is not enough: a server may answer `charset` with another one,
# in which what is escaped here is not escaped, and a MySQL whose autocommit is 0 greets with a 1. A transaction that
# nobody goes on with, as its machine or the network is gone, keeps others waiting until it is undone: on MariaDB, which
# from 10.3 on reads what stands in /*M!100300 */, for little longer than any of ours may last.
_SESSION = (
    "set names utf8mb4, session sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', session time_zone = '+00:00', "
    "session autocommit = 1, session completion_type = 0, "
    "session wait_timeout = cast(least(@@wait_timeout, {wait}) as unsigned), "  # to MySQL the least is no integer
    "session innodb_lock_wait_timeout = {lock_wait}, session lock_wait_timeout = {lock_wait} "  # for a row, for a table
    "/*M!100300 , session idle_transaction_timeout = {idle} */"
)


class _Connection(aiomysql.Connection):  # type: ignore[misc]  # published without types
    """aiomysql's; but to a server that offers no TLS, where it is asked for, it says nothing at all.

    aiomysql would go on in plain text, so whoever is in between would only have to remove the offer.
    """

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, "the server offers no TLS")
        await super()._request_authentication()


class Pool:
    """Lends `size` connections at most; a statement on one waits `lock_wait` seconds at most for a lock.

    Not aiomysql's pool: that makes everybody wait behind one slow handshake, never times out and is not fair.
    """

    def __init__(
        self, address: DatabaseAddress, *, size: int, lock_wait: int, waited: Callable[[float], None] | None = None
    ) -> None:
        self.in_use, self._stale = 0, 0.0  # connections; before when one was used that is not to be used again
        self._waited = waited  # told how many seconds each one waited for a place, also in vain
        self._places = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._connect = partial(
            _Connection,
            host=address.host,
            port=address.port,
            user=address.user,
            password=address.password,
            db=address.name,
            unix_socket=address.unix_socket,
            ssl=address.tls,
            charset="utf8mb4",
            autocommit=None,
            init_command=_SESSION.format(wait=_WAIT, lock_wait=lock_wait, idle=4 * lock_wait + 1),
        )

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """To be held by whoever connects, for as long as it may try: waiting for it is fair."""
        started = time.perf_counter()
        try:
            await self._places.acquire()
        finally:
            if self._waited:
                self._waited(time.perf_counter() - started)
        self.in_use += 1
        try:
            yield
        finally:
            self.in_use -= 1
            self._places.release()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """One connection, for the holder of a place. Lost or left in the middle of something, it is closed."""
        began = asyncio.get_running_loop().time()
        connection = await self._acquire(began)
        try:
            yield connection
        except pymysql.MySQLError as error:
            if is_lost(error):
                connection.close()
                self.drop()  # most likely they are lost too, and there is one more attempt at most
            raise
        except RuntimeError as error:
            has_ended = _has_ended(connection)
            connection.close()
            if has_ended:  # amid a transaction
                raise pymysql.OperationalError(CR.CR_SERVER_GONE_ERROR, str(error)) from error
            raise
        except BaseException as error:
            connection.close()  # an answer may still be under way
            if isinstance(error, asyncio.CancelledError):  # after a fail-over by address, the others are silent too
                self.drop(since=began)
            raise
        finally:
            if connection.last_usage < self._stale:
                connection.close()
            if not connection.closed:
                self._idle.append(connection)

    async def close(self) -> None:
        """Says goodbye to the server on all idle connections, for a second at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._idle:
                    connection = self._idle.pop()
                    if _has_ended(connection):
                        connection.close()
                    else:
                        await connection.ensure_closed()
        self.drop()

    async def _acquire(self, now: float) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if now - connection.last_usage < _LONGEST_IDLE and not _has_ended(connection):
                return connection
            connection.close()
        connection = self._connect()
        try:
            await connection._connect()
        except pymysql.OperationalError as error:
            if isinstance(error.__cause__, ssl.SSLError):  # of which aiomysql says only that it can't connect
                raise pymysql.OperationalError(CR.CR_SSL_CONNECTION_ERROR, str(error.__cause__)) from error
            raise
        except (struct.error, IndexError, ValueError) as error:  # what answers there does not speak the protocol
            raise pymysql.OperationalError(CR.CR_CONN_HOST_ERROR, repr(error)) from error
        return connection

    def drop(self, since: float | None = None) -> None:
        """Closes the connections that were not used since, by default all: those that somebody has, at their return."""
        self._stale = max(self._stale, since or asyncio.get_running_loop().time())
        for connection in (each for each in self._idle if each.last_usage < self._stale):
            connection.close()  # and found closed when its turn comes


def _has_ended(connection: Connection) -> bool:
    """Whether the server closed it. The driver does not look, and a write would be uvloop's RuntimeError."""
    return bool(connection.closed or connection._reader.at_eof() or connection._writer.transport.is_closing())


def code_of(error: pymysql.MySQLError) -> int:
    """The server's or the client's error number; 0 where the driver gives only a text."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def is_lost(error: pymysql.MySQLError) -> bool:
    """Whether the error says that its connection is of no more use."""
    return code_of(error) in _LOST
