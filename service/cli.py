"""`mstack-auth`, for operators: the keys in the folder JWT_KEYS.

Exit codes: 0 done; 1 refused, since it would log somebody out; 2 wrong usage, or an unusable folder or setting.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec

from service.environment import InvalidSetting
from service.keyfolder import KeyFolder
from service.keyrotation import KeyRotation, Listed, Refused, UnknownKey, moment
from service.keys import UnusableKey
from service.settings import KeySettings

# A kid may begin with a hyphen.
_KID = {"ignore_unknown_options": True}


class _Refused(click.ClickException):
    exit_code = 1


class _Unusable(click.ClickException):
    exit_code = 2


class _Explaining(click.Group):
    """Says in one line what went wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Refused as error:
            raise _Refused(str(error)) from None
        except (InvalidSetting, UnknownKey, UnusableKey) as error:
            raise _Unusable(str(error)) from None
        except OSError as error:
            raise _Unusable(f"{error.filename}: {error.strerror}") from None


@click.group(cls=_Explaining)
def main() -> None:
    """Administers mstack-auth, with the settings of the environment."""


@main.group()
def keys() -> None:
    """Makes and rotates the keys that sign under RS256 and ES256.

    A rotation is: new, wait, activate, wait, retire. Running services pick each step up by themselves.
    """


_folder = click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), help="The folder of the keys, instead of JWT_KEYS."
)


def _force(warning: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--force", is_flag=True, help=warning)


@keys.command()
@_folder
@click.option(
    "--algorithm", type=click.Choice(["ES256", "RS256"]), help="Instead of JWT_ALGORITHM; ES256 where that is HS256."
)
def new(folder: Path | None, algorithm: str | None) -> None:
    """Makes and publishes a key, and prints its kid. The first one of a folder signs at once."""
    rotation, settings = _rotation(folder)
    configured = "ES256" if settings.jwt_algorithm == "HS256" else settings.jwt_algorithm
    kid = rotation.new(algorithm or configured, int(time.time()))
    click.echo(kid)
    [made] = [listed for listed in rotation.list(int(time.time())) if listed.kid == kid]
    click.echo(f"It may sign from {moment(made.activate_from)}." if made.activate_from else "It signs.", err=True)


@keys.command("list")
@_folder
@click.option("--json", "as_json", is_flag=True, help="For programs: times are seconds since 1970.")
def list_(folder: Path | None, as_json: bool) -> None:
    """Shows each key, and from when it may be activated or retired."""
    rotation, _ = _rotation(folder)
    listed = rotation.list(int(time.time()))
    click.echo(msgspec.json.encode(listed).decode() if as_json else _table(listed))


@keys.command(context_settings=_KID)
@click.argument("kid")
@_folder
@_force("Also before everybody can know the key, or if it is not for JWT_ALGORITHM.")
def activate(kid: str, folder: Path | None, force: bool) -> None:
    """Lets a key sign, once it has been published for JWKS_MAX_AGE; the one that signed goes on verifying."""
    rotation, settings = _rotation(folder)
    algorithm = None if settings.jwt_algorithm == "HS256" else settings.jwt_algorithm
    rotation.activate(kid, int(time.time()), algorithm=algorithm, force=force)
    click.echo(f"{kid} signs.")


@keys.command(context_settings=_KID)
@click.argument("kid")
@_folder
@_force("Also while tokens of the key may be in use: those who have one are logged out.")
def retire(kid: str, folder: Path | None, force: bool) -> None:
    """Deletes a key, once its last token has expired. The key that signs cannot be retired."""
    rotation, _ = _rotation(folder)
    rotation.retire(kid, int(time.time()), force=force)
    click.echo(f"{kid} is gone.")


def _rotation(folder: Path | None) -> tuple[KeyRotation, KeySettings]:
    settings = KeySettings.from_env()
    path = folder or settings.jwt_keys
    if path is None:
        raise InvalidSetting("JWT_KEYS is not set, and there is no --folder")
    rotation = KeyRotation(
        folder=KeyFolder(path), max_age=settings.jwks_max_age, longest_lifetime=settings.longest_lifetime
    )
    return rotation, settings


def _table(listed: list[Listed]) -> str:
    heads = ["KID", "ALGORITHM", "STATE", "CREATED", "ACTIVATED", "SUPERSEDED", "ACTIVATE FROM", "RETIRE FROM"]
    rows = [heads, *(_cells(key) for key in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cells(key: Listed) -> list[str]:
    times = (key.created, key.activated, key.superseded, key.activate_from, key.retire_from)
    return [key.kid, key.algorithm or "-", key.state, *("-" if time is None else moment(time) for time in times)]
