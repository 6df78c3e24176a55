"""`mstack-auth keys`: the keys in the folder JWT_KEYS."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from service.cli import terminal
from service.environment import InvalidSetting
from service.keyfolder import KeyFolder
from service.keyrotation import KeyRotation, Listed, rfc3339
from service.settings import KeySettings

# A kid may begin with a hyphen.
_KID = {"ignore_unknown_options": True}
_HEADS = ["KID", "ALGORITHM", "STATE", "CREATED", "ACTIVATED", "SUPERSEDED", "ACTIVATE FROM", "RETIRE FROM"]


@click.group()
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
    "--algorithm",
    type=click.Choice(["ES256", "RS256"]),
    help="Default: JWT_ALGORITHM; where that is HS256, as the key that signs, or ES256.",
)
@terminal.as_json
def new(folder: Path | None, algorithm: str | None, as_json: bool) -> None:
    """Makes and publishes a key, and prints its kid. The first one of a folder signs at once."""
    rotation, settings = _rotation(folder)
    kid = rotation.new(algorithm or _configured(settings), int(time.time()))
    [made] = [listed for listed in rotation.list(int(time.time())) if listed.kid == kid]
    terminal.show(made, kid, as_json=as_json)
    if not as_json:
        click.echo(f"It may sign from {rfc3339(made.activate_from)}." if made.activate_from else "It signs.", err=True)


@keys.command("list")
@_folder
@terminal.as_json
def list_(folder: Path | None, as_json: bool) -> None:
    """Shows each key, and from when it may be activated or retired."""
    rotation, _ = _rotation(folder)
    listed = rotation.list(int(time.time()))
    terminal.show(listed, terminal.table(_HEADS, (_cells(key) for key in listed)), as_json=as_json)


@keys.command(context_settings=_KID)
@click.argument("kid")
@_folder
@_force("Also before all who verify can have fetched the key.")
@terminal.as_json
def activate(kid: str, folder: Path | None, force: bool, as_json: bool) -> None:
    """Lets a key sign, once it has been published for JWKS_MAX_AGE; the one that signed goes on verifying."""
    rotation, settings = _rotation(folder)
    rotation.activate(kid, int(time.time()), algorithm=_configured(settings), force=force)
    terminal.show({"kid": kid, "state": "signing"}, f"{kid} signs.", as_json=as_json)


@keys.command(context_settings=_KID)
@click.argument("kid")
@_folder
@_force("Also while tokens of the key may be in use: those who have one are logged out.")
@terminal.as_json
def retire(kid: str, folder: Path | None, force: bool, as_json: bool) -> None:
    """Deletes a key, once its last token has expired. The key that signs cannot be retired."""
    rotation, _ = _rotation(folder)
    rotation.retire(kid, int(time.time()), force=force)
    terminal.show({"kid": kid, "state": "retired"}, f"{kid} is gone.", as_json=as_json)


def _rotation(folder: Path | None) -> tuple[KeyRotation, KeySettings]:
    settings = KeySettings.from_env()
    path = folder or settings.jwt_keys
    if path is None:
        raise InvalidSetting("JWT_KEYS", "is not set, and there is no --folder")
    rotation = KeyRotation(
        folder=KeyFolder(path), max_age=settings.jwks_max_age, longest_lifetime=settings.longest_lifetime
    )
    return rotation, settings


def _configured(settings: KeySettings) -> str | None:
    return None if settings.jwt_algorithm == "HS256" else settings.jwt_algorithm  # a folder's key signs nothing then


def _cells(key: Listed) -> list[str | None]:
    times = (key.created, key.activated, key.superseded, key.activate_from, key.retire_from)
    return [key.kid, key.algorithm, key.state, *(None if time is None else rfc3339(time) for time in times)]
