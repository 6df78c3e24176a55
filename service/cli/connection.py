"""The database, and what works on it, for as long as one command runs."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from service.administration import Administration
from service.cli.terminal import Unreachable
from service.database import Database
from service.passwords import Passwords
from service.queries import migrations
from service.revocations import Revocations
from service.sessions import Sessions
from service.settings import Settings, environment

# Neither a secret nor a key, and nothing of HTTP: what a command does not need may be missing, or wrong.
_NEEDED = ("DATABASE_", "BCRYPT_", "PASSWORD_", "REVOCATION_", "MAX_SESSIONS", "JWT_EXPIRY", "REFRESH_", "SESSION_")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """What a command works with. Ctrl-C cancels what the runner runs, and comes out of it as KeyboardInterrupt."""

    runner: asyncio.Runner
    database: Database
    sessions: Sessions
    administration: Administration


@contextmanager
def connected(*, timeout: float = 0) -> Iterator[Connected]:
    """The parts, on a database with the right schema; a statement may take DATABASE_TIMEOUT, or longer where asked."""
    needed = {name: value for name, value in environment.items() if name.startswith(_NEEDED)}
    settings = Settings.from_env(needed, signs=False)
    with asyncio.Runner() as runner:
        database = Database(settings.database, size=1, timeout=max(timeout, settings.database_timeout))
        passwords = Passwords(
            rounds=settings.bcrypt_rounds,
            threads=1,
            queue=0,
            min_length=settings.password_min_length,
            blocklist=settings.password_blocklist,
        )
        sessions = Sessions(
            database=database,
            revocations=Revocations(database, interval=settings.revocation_interval, lifetime=settings.jwt_expiry),
            lifetime=settings.refresh_expiry,
            max_age=settings.session_max_age,
            limit=settings.max_sessions,
            clock=time.time,
        )
        administration = Administration(database=database, passwords=passwords, sessions=sessions, clock=time.time)
        try:
            if missing := runner.run(migrations.find_missing(database)):
                raise Unreachable(outdated(missing))
            yield Connected(runner=runner, database=database, sessions=sessions, administration=administration)
        finally:
            passwords.close()
            runner.run(database.close())


def outdated(missing: list[str]) -> str:
    """What to say of a schema without these migrations."""
    return f"the database lacks {', '.join(missing)}: run yoyo apply --batch"
