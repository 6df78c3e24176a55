"""`mstack-auth users`: accounts."""

import shlex

import click

from service.cli import importing, terminal
from service.cli.connection import connected
from service.keyrotation import rfc3339


@click.group()
def users() -> None:
    """Makes, lists, changes, deletes and imports users."""


users.add_command(importing.import_)


@users.command()
@click.argument("name")
@terminal.as_json
def create(name: str, as_json: bool) -> None:
    """Registers a user. The password is asked for, or is a line of standard input."""
    with connected() as parts:
        user = parts.runner.run(parts.administration.create_user(name, terminal.read_password()))
    terminal.show({"id": user.id, "username": user.username}, f"{user.username} is registered.", as_json=as_json)


@users.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many at most.")
@click.option("--after", metavar="NAME", help="Begins past this name, whether or not anybody has it.")
@terminal.as_json
def list_(limit: int, after: str | None, as_json: bool) -> None:
    """Shows users, in the order of their names, a page at a time."""
    with connected() as parts:
        page = parts.runner.run(parts.administration.list_users(after=after, limit=limit + 1))
    shown, following = page[:limit], page[limit - 1].username if len(page) > limit else None
    text = terminal.table(["USERNAME", "REGISTERED", "ID"], ((u.username, rfc3339(u.created_at), u.id) for u in shown))
    terminal.show({"users": shown, "after": following}, text, as_json=as_json)
    if following and not as_json:
        click.echo(f"There are more: --after {shlex.quote(following)}", err=True)


@users.command("set-password")
@click.argument("name")
@terminal.as_json
def set_password(name: str, as_json: bool) -> None:
    """Gives a user another password, asked for or a line of standard input, and ends every session."""
    with connected() as parts:
        user = parts.runner.run(parts.administration.find(name))
        ended = parts.runner.run(parts.administration.set_password(user, terminal.read_password()))
    text = f"{user.username} has another password; sessions ended: {ended}."
    terminal.show({"id": user.id, "username": user.username, "sessions_ended": ended}, text, as_json=as_json)


@users.command()
@click.argument("name")
@terminal.as_json
def delete(name: str, as_json: bool) -> None:
    """Deletes a user and every session; the name is free again."""
    with connected() as parts:
        user = parts.runner.run(parts.administration.find(name))
        ended = parts.runner.run(parts.administration.delete_user(user))
    text = f"{user.username} is deleted; sessions ended: {ended}."
    terminal.show({"id": user.id, "username": user.username, "sessions_ended": ended}, text, as_json=as_json)
