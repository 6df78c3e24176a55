"""Databases with a given number of sessions each, on a private MariaDB of their own.

Its buffer pool holds the largest table whole, as production's should: with a smaller one, the machine's disk would be
measured. Sessions lie as the service leaves them: ids in the order of logins over six days, users mixed, generations
and times of rotation spread, all used within the hour.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from uuid_utils.compat import uuid7

from bench.database import Administrator, connect
from bench.plan import THEIRS
from bench.progress import counted
from bench.servers import migrate
from service.localdb import LocalDatabase, local_database

OPTIONS = (
    "--innodb-buffer-pool-size=1G",
    "--innodb-log-file-size=512M",
    "--innodb-buffer-pool-dump-at-shutdown=off",  # the pool is warmed here, before the measuring and not during it
    "--innodb-buffer-pool-load-at-startup=off",
)
BATCH = 20_000
SESSIONS_A_USER = 20
LIFETIME, AGE = 7 * 86400, 6 * 86400  # seconds

_USERS = "insert into users (id, username, username_key, password_hash, created_at) values (%s, %s, %s, %s, %s)"
# The primes mix users, and times of rotation, so that neither follow one another in the order of the sessions.
_SESSIONS = """
    insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at, last_used_at)
    select concat_ws('-', left(stamp, 8), right(stamp, 4), concat('7', left(noise, 3)),
                     concat('8', substr(noise, 4, 3)), right(noise, 12)),
           users.id, 1 + seq %% 97, from_unixtime(rotated), from_unixtime(rotated + %s), from_unixtime(created),
           utc_timestamp()
    from (select seq, ms div 1000 as created, md5(seq) as noise, lpad(lower(hex(ms)), 12, '0') as stamp,
                 ms div 1000 + (%s - ms div 1000) * (seq * 7907 %% 1000) div 1000 as rotated
          from (select seq, %s + seq * %s div %s as ms
                from seq_1_to_100000000
                where seq > %s and seq <= %s) as opened) as made
    join users on username_key = concat('user-', seq * 7919 %% %s)
"""
# Scattered over the table: at least as far apart as those that expire in a day.
_EXPIRED = """
    insert into refresh_tokens (id, user_id, generation, rotated_at, expires_at, created_at)
    select uuid(), users.id, 1, at, at + interval 7 day, at
    from (select seq, utc_timestamp() - interval 8 day as at from seq_1_to_100000000 where seq <= %s) as made
    join (select id, row_number() over (order by id) as place from users limit %s) as users
    on place = 1 + seq * 7919 %% %s
"""
_INDEXES = (
    "select count(id) from refresh_tokens force index (primary)",
    "select count(user_id) from refresh_tokens force index (refresh_tokens_user_id)",
    "select count(expires_at) from refresh_tokens force index (refresh_tokens_expires_at)",
    "select count(id) from users force index (primary)",
)


def sizes(*, quick: bool) -> tuple[int, ...]:
    """Of the tables that are compared, the smallest first."""
    return (1_000, 5_000) if quick else (1_000, 100_000, 2_000_000)


def add_expired(url: str, count: int, *, users: int) -> None:
    """Adds so many sessions that expired a day ago, of so many users, or of all where there are fewer."""
    with connect(url) as cursor:
        cursor.execute("select least(count(*), %s) from users", (users,))
        [(users,)] = cursor
        cursor.execute(_EXPIRED, (count, users, users))


def count_expired(url: str) -> int:
    """How many there are by now."""
    with connect(url) as cursor:
        cursor.execute("select count(*) from refresh_tokens where expires_at < utc_timestamp()")
        [(count,)] = cursor
        return int(count)


def delete_expired(url: str) -> None:
    """Makes a database what it was."""
    with connect(url) as cursor:
        cursor.execute("delete from refresh_tokens where expires_at < utc_timestamp()")


@contextmanager
def databases(folder: Path, *, quick: bool) -> Iterator[dict[int, str]]:
    """The DATABASE_URL of each size, its pages in memory; filled the first time, kept in `folder` for the next."""
    options = () if quick else OPTIONS  # to write such a log takes longer than to fill a few tables
    if not folder.exists():
        with local_database(folder, *options) as database:
            for size in sizes(quick=quick):
                _fill(_open(database, size), size)
    # Started anew: a clean stop writes all that has changed, which would else go on while others measure.
    with local_database(folder, *options) as database:
        os.sched_setaffinity(database.pid, THEIRS)
        urls = {size: _open(database, size) for size in sizes(quick=quick)}
        for url in urls.values():
            _read_all(url)
        yield urls


def _open(database: LocalDatabase, size: int) -> str:
    """The address of a size's database. Each start of the server makes the account anew, and so its rights."""
    name = f"rows_{size}"
    administrator = Administrator(database.socket)
    administrator.ask(f"create database if not exists {name}")
    administrator.ask(f"grant all on {name}.* to auth@127.0.0.1")
    return database.url.removesuffix("auth") + name


def _fill(url: str, size: int) -> None:
    migrate(url)
    now, users = int(time.time()), size // SESSIONS_A_USER
    moment = datetime.fromtimestamp(now, UTC).replace(tzinfo=None)
    with connect(url) as cursor:
        names = [f"user-{number}" for number in range(users)]
        cursor.executemany(_USERS, [(str(uuid7()), name, name, "x" * 60, moment) for name in names])
        for start in counted(range(0, size, BATCH), f"{size:,} sessions"):
            spread = (LIFETIME, now, (now - AGE) * 1000, AGE * 1000, size)
            cursor.execute(_SESSIONS, (*spread, start, min(start + BATCH, size), users))


def _read_all(url: str) -> None:
    with connect(url) as cursor:
        for statement in _INDEXES:
            cursor.execute(statement)
