"""`mstack-auth sessions`: who is logged in."""

import click

from service.cli import terminal
from service.cli.connection import connected
from service.keyrotation import rfc3339


@click.group()
def sessions() -> None:
    """Lists and ends sessions. Their access tokens end too, everywhere within REVOCATION_INTERVAL."""


@sessions.command("list")
@click.argument("name")
@terminal.as_json
def list_(name: str, as_json: bool) -> None:
    """Shows a user's live sessions, the one used last first."""
    with connected() as parts:
        found = parts.runner.run(parts.administration.list_sessions(name))
    heads = ["ID", "BEGAN", "LAST USED", "ADDRESS", "CLIENT"]
    rows = ((s.id, rfc3339(s.created_at), rfc3339(s.last_used_at), s.ip, s.user_agent) for s in found)
    terminal.show({"sessions": found}, terminal.table(heads, rows), as_json=as_json)


@sessions.command()
@click.argument("session_id", metavar="[ID]", required=False)
@click.option("--user", metavar="NAME", help="All sessions of this user.")
@terminal.as_json
def revoke(session_id: str | None, user: str | None, as_json: bool) -> None:
    """Ends the session ID, or all of a user."""
    if (session_id is None) == (user is None):
        raise click.UsageError("name either the ID of a session or a --user")
    with connected() as parts:
        if user is not None:
            ended = parts.runner.run(parts.administration.end_sessions(user))
        else:
            parts.runner.run(parts.administration.end_session(session_id or ""))
            ended = 1
    terminal.show({"sessions_ended": ended}, f"Sessions ended: {ended}.", as_json=as_json)
