"""Others take connections, locks and time from the service."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import pymysql
from pymysql.constants import ER

from bench.faults.clients import PAUSE
from bench.faults.experiment import Experiment
from bench.faults.requests import Service
from bench.seed import PASSWORD
from service.localdb import LocalDatabase

CROWD = 200


async def small_pool(experiment: Experiment[LocalDatabase]) -> None:
    """200 logins at once, and the clients beside them, on a pool of two connections."""
    async with experiment.under_load(POOL_SIZE="2") as load, experiment.fault():
        users = [user.name for user in load.users if user.acknowledged] or [load.users[0].name]
        names = itertools.islice(itertools.cycle(users), CROWD)
        async with Service([server.url for server in experiment.servers], experiment.journal) as service:
            asked = [service.ask("login", name, username=name, password=PASSWORD) for name in names]
            answers = await asyncio.gather(*asked)
    experiment.evidence["of 200 logins answered 200"] = sum(answer.status == 200 for answer in answers)


async def locked_tables(experiment: Experiment[LocalDatabase]) -> None:
    """LOCK TABLES by another for 8 seconds."""
    async with experiment.under_load(), experiment.fault():
        with experiment.administrator.connect(database="auth") as other, other.cursor() as cursor:
            await asyncio.to_thread(cursor.execute, "lock tables users write, refresh_tokens write, revocations write")
            await asyncio.sleep(experiment.length(8, 3))
            experiment.evidence["connections at the end of it"] = len(
                await asyncio.to_thread(experiment.administrator.connections)
            )
            cursor.execute("unlock tables")


async def killed_connections(experiment: Experiment[LocalDatabase]) -> None:
    """KILL of a connection of the service, five times a second for 30 seconds."""
    count = int(experiment.length(150, 15))
    killed = 0
    async with experiment.under_load(), experiment.fault():
        for number in range(count):
            connections = await asyncio.to_thread(experiment.administrator.connections)
            if connections:
                with suppress(pymysql.OperationalError):  # it went by itself
                    chosen = connections[number % len(connections)]
                    await asyncio.to_thread(experiment.administrator.ask, f"kill {chosen}")
                    killed += 1
            await asyncio.sleep(0.2)
    experiment.evidence["killed"] = killed


async def idle_connections(experiment: Experiment[LocalDatabase]) -> None:
    """wait_timeout=2, and clients who come in waves, between which all connections have been idle for too long."""
    async with experiment.under_load() as load, experiment.fault():
        with experiment.administrator.connect() as other, other.cursor() as cursor:
            with _set(cursor, "wait_timeout", 2):
                await asyncio.to_thread(_drop_connections, cursor)  # those that are there keep what they have
                await asyncio.sleep(1)  # for new ones
                waves = int(experiment.length(4, 1))
                for _ in range(waves):
                    with load.paused():
                        # The reader's is never idle.
                        await experiment.until(lambda: len(experiment.administrator.connections()) <= 1)
                    await asyncio.sleep(experiment.length(2, 1))
            await asyncio.to_thread(_drop_connections, cursor)
    experiment.evidence["waves"] = waves


async def few_connections(experiment: Experiment[LocalDatabase]) -> None:
    """A server whose max_connections leaves the service three, for 8 seconds."""
    async with experiment.under_load() as load, experiment.fault():
        before = _refused_as_too_many(experiment)
        with ExitStack() as stack:
            held = [stack.enter_context(experiment.administrator.connect()) for _ in range(7)]
            cursor = stack.enter_context(held[0].cursor())  # another connection might be one too many
            stack.enter_context(_set(cursor, "max_connections", 10))  # the least that MariaDB accepts
            await asyncio.to_thread(_drop_connections, cursor)
            for _ in range(int(experiment.length(8, 3))):  # all want one at once
                with load.paused():
                    await asyncio.sleep(0.5)
                await asyncio.sleep(0.5)
        experiment.evidence["refused as too many"] = _refused_as_too_many(experiment) - before


async def locked_rows(experiment: Experiment[LocalDatabase]) -> None:
    """Error 1205: another transaction holds the rows of all users and sessions for 6 seconds."""
    before = _metric(experiment, "lock_timeouts")
    async with experiment.under_load(), experiment.fault():
        with experiment.administrator.connect(database="auth") as other, other.cursor() as cursor:
            while not await asyncio.to_thread(_holds_all, cursor):
                await asyncio.sleep(PAUSE)
            await asyncio.sleep(experiment.length(6, 3))
            cursor.execute("rollback")
    experiment.evidence["lock waits that timed out"] = _metric(experiment, "lock_timeouts") - before


async def deadlocks(experiment: Experiment[LocalDatabase]) -> None:
    """Error 1213: another transaction locks revocations and then sessions, where a logout does the reverse."""
    before = _metric(experiment, "lock_deadlocks")
    async with experiment.under_load(), experiment.fault():
        with _heavy(experiment) as cursor:
            deadline = asyncio.get_running_loop().time() + experiment.length(10, 3)
            while asyncio.get_running_loop().time() < deadline:
                with suppress(pymysql.OperationalError):  # this time it was the other who had to give way
                    await asyncio.to_thread(_meet, cursor)
                await asyncio.sleep(PAUSE)
    experiment.evidence["deadlocks"] = _metric(experiment, "lock_deadlocks") - before


def _holds_all(cursor: "pymysql.cursors.Cursor") -> bool:
    """Tries to lock all rows; False where it had to give way to another, of whom each had what the other wanted."""
    try:
        cursor.execute("begin")
        cursor.execute("select id from refresh_tokens for update")
        cursor.execute("select id from users for update")
    except pymysql.OperationalError as error:
        if error.args[0] != ER.LOCK_DEADLOCK:
            raise
        return False
    return True


def _metric(experiment: Experiment[LocalDatabase], name: str) -> int:
    """One of InnoDB's counters."""
    [[count]] = experiment.administrator.ask(
        "select count from information_schema.innodb_metrics where name = %s", name
    )
    return int(count)


@contextmanager
def _heavy(experiment: Experiment[LocalDatabase]) -> Iterator["pymysql.cursors.Cursor"]:
    """A cursor whose transactions have changed so much that InnoDB ends the other one of a deadlock."""
    experiment.administrator.ask("create table auth.ballast (id int primary key) engine = InnoDB")
    try:
        with experiment.administrator.connect(database="auth") as other, other.cursor() as cursor:
            yield cursor
    finally:
        experiment.administrator.ask("drop table auth.ballast")


def _meet(cursor: "pymysql.cursors.Cursor") -> None:
    cursor.execute("begin")
    try:
        cursor.execute("insert into ballast select seq from seq_1_to_2000")
        cursor.execute("select id from revocations where id > 0 for update")  # and the gap in which the next one is
        cursor.execute("select sleep(0.1)")
        cursor.execute("select id from refresh_tokens for update")
    finally:
        cursor.execute("rollback")


def _refused_as_too_many(experiment: Experiment[LocalDatabase]) -> int:
    return experiment.log.read_text().count('"number":1040')


@contextmanager
def _set(cursor: "pymysql.cursors.Cursor", variable: str, value: int) -> Iterator[None]:
    """A setting of the server while it lasts."""
    cursor.execute(f"set @before = @@global.{variable}")
    cursor.execute(f"set global {variable} = {value}")
    try:
        yield
    finally:
        cursor.execute(f"set global {variable} = @before")


def _drop_connections(cursor: "pymysql.cursors.Cursor") -> None:
    """Ends those that the service has."""
    cursor.execute("kill user auth@127.0.0.1")
