"""`mstack-auth`, for operators, with the settings of the environment: this folder is the border to the terminal."""

import logging
import os
import sys
from pathlib import Path

import click

from service.cli import config, keys, purge, sessions, terminal, users


@click.group(cls=terminal.Explaining, epilog=terminal.EXITS)
def main() -> None:
    """Administers mstack-auth, with the settings of the environment."""
    # Each command says by itself what went wrong; and no name of a user may fail for the want of a letter.
    logging.getLogger("service").addHandler(logging.NullHandler())
    # Where one was closed before, there is none.
    nothing = Path(os.devnull)
    sys.stdin = sys.stdin or nothing.open()  # until the end
    sys.stdout = sys.stdout or nothing.open("w")
    sys.stderr = sys.stderr or nothing.open("w")
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a TextIOWrapper, but for a test's


for command in (keys.keys, users.users, sessions.sessions, purge.purge, config.config):
    main.add_command(command)
