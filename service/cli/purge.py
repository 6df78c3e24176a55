"""`mstack-auth purge`: what services do by themselves now and then."""

import click

from service.cli import terminal
from service.cli.connection import connected
from service.sessions import Purged


@click.command()
@terminal.as_json
def purge(as_json: bool) -> None:
    """Deletes expired sessions, and revocations that say nothing any more, in small batches."""
    done = Purged(0, 0)
    with connected() as parts:
        try:
            batch = None
            while batch is None or batch.is_full:
                batch = parts.run(parts.sessions.purge())
                done = Purged(done.sessions + batch.sessions, done.revocations + batch.revocations)
        finally:  # after Ctrl-C, or when the database goes away, too
            text = f"Deleted: {done.sessions} expired sessions, {done.revocations} revocations."
            terminal.show(done._asdict(), text, as_json=as_json)
