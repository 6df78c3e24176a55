"""`mstack-auth config`: whether a service would start, and serve."""

import asyncio

import click

from service.cli import terminal
from service.cli.connection import outdated
from service.cli.terminal import UNREACHABLE, UNUSABLE
from service.database import Database
from service.environment import InvalidSetting
from service.errors import Unavailable
from service.keys import UnusableKey
from service.keywatch import KeyWatch
from service.queries import migrations
from service.settings import KeySettings, Settings, environment

_NOWHERE = "mysql://nobody@localhost/nothing"  # so that the other settings can be checked without a DATABASE_URL


@click.group()
def config() -> None:
    """Checks the settings."""


@config.command()
@terminal.as_json
def check(as_json: bool) -> None:
    """Reads all settings and keys as the service does at its start, and asks the database for its schema.

    Prints what is wrong, a line each, and never a secret.
    """
    settings, problems = _read()
    unusable = problems + _check_keys()
    unreachable = asyncio.run(_check_database(settings)) if settings else []
    problems = unusable + unreachable
    text = "\n".join(problems) or "The settings, the keys and the database are as they should be."
    terminal.show({"problems": problems}, text, as_json=as_json)
    if problems:
        raise click.exceptions.Exit(UNUSABLE if unusable else UNREACHABLE)


def _read() -> tuple[Settings | None, list[str]]:
    """What can be used, None without a database, and all that can't: what a refusal names is left out the next time."""
    left, problems, signs = dict(environment), dict[str, str](), True
    while True:
        try:
            settings = Settings.from_env(left, signs=signs)
        except InvalidSetting as error:
            name = error.name.removesuffix("_FILE")
            problems.setdefault(name, str(error))
            found = [left.pop(source, None) is not None for source in (name, f"{name}_FILE")]
            if name == "DATABASE_URL":
                left[name] = _NOWHERE
            elif not any(found) and signs:  # what is to sign is missing
                signs = False
            elif not any(found):
                return None, list(problems.values())
        else:
            return None if "DATABASE_URL" in problems else settings, list(problems.values())


def _check_keys() -> list[str]:
    try:
        keys = KeySettings.from_env().require_signing()
        KeyWatch(keys.jwt_algorithm, keys.secrets, keys.jwt_keys)
    except InvalidSetting:  # which is known
        return []
    except UnusableKey as error:
        return [f"JWT_KEYS: {error}"]
    return []


async def _check_database(settings: Settings) -> list[str]:
    database = Database(settings.database, size=1, timeout=settings.database_timeout)
    try:
        missing = await migrations.find_missing(database)
    except Unavailable as error:
        return [f"DATABASE_URL: {terminal.reason_of(error)}"]
    finally:
        await database.close()
    return [f"DATABASE_URL: {outdated(missing)}"] if missing else []
