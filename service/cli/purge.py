"""`mstack-auth purge`: what services do by themselves now and then."""

import click

from service.cli import terminal
from service.cli.connection import connected
from service.sessions import Purged


@click.command()
@terminal.as_json
def purge(as_json: bool) -> None:
    """Deletes expired sessions and revocations, in small batches: up to 5,000 a second."""
    done = Purged(0, 0)

    with connected() as parts:

        async def work() -> None:
            nonlocal done
            async for batch in parts.sessions.purge():
                done = Purged(done.sessions + batch.sessions, done.revocations + batch.revocations)

        try:
            parts.runner.run(work())
        finally:  # after Ctrl-C, or when the database goes away, too
            text = f"Deleted: {done.sessions} expired sessions, {done.revocations} revocations."
            terminal.show(done._asdict(), text, as_json=as_json)
