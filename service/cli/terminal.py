"""What the commands share: how they end, how they print, how a password is read."""

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click
import msgspec

from service.administration import Unknown
from service.environment import InvalidSetting
from service.errors import AuthError, Unavailable
from service.imports import UnusableSource
from service.keyrotation import Refused, UnknownKey
from service.keys import UnusableKey
from service.logs import printable

REFUSED, UNUSABLE, UNREACHABLE = 1, 2, 3
INTERRUPTED, BROKEN_PIPE = 130, 141  # as a shell says that a signal ended a program
_LONGEST_LINE = 65_536  # bytes
EXITS = """\b
Exit codes:
  0    done
  1    refused: a name that is taken or unknown, a password or a line that is
       not acceptable, a step that would log somebody out
  2    wrong usage, or an unusable setting, file or folder of keys
  3    the database can't be reached, or lacks a migration
  130  Ctrl-C
  141  nobody reads the output any more
"""

as_json = click.option("--json", "as_json", is_flag=True, help="Prints JSON; times are seconds since 1970.")


class Unusable(click.ClickException):
    exit_code = UNUSABLE


class Unreachable(click.ClickException):
    exit_code = UNREACHABLE


class Explaining(click.Group):
    """Says in one line what went wrong."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("Stopped.", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Nobody reads any more; nor may what Python has yet to write fail at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(BROKEN_PIPE) from None
        except OSError as error:
            raise Unusable(f"{error.filename or 'output'}: {error.strerror or error}") from None
        except Unavailable as error:
            raise Unreachable(f"the database can't be reached: {reason_of(error)}") from None
        except (AuthError, Unknown, Refused) as error:
            raise click.ClickException(str(error)) from None  # whose code is REFUSED
        except (InvalidSetting, UnusableSource, UnknownKey, UnusableKey) as error:
            raise Unusable(str(error)) from None


def reason_of(error: Unavailable) -> str:
    """What the database, or the driver, said; else that it said nothing in time."""
    said = error.__cause__.args[-1:] if error.__cause__ else ()
    return str(said[0]) if said and said[0] else "it does not answer in time"


def show(value: object, text: str, *, as_json: bool) -> None:
    """Prints a value for programs, or the text for people."""
    click.echo(msgspec.json.encode(value).decode() if as_json else text)


def table(heads: Sequence[str], rows: Iterable[Sequence[str | None]]) -> str:
    """Columns for people; what a terminal might take for a command is spelt out."""
    lines = [list(heads), *([printable(cell) if cell else "-" for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def read_password() -> str:
    """Asked for twice at a terminal, else a line of standard input. It is never an argument, which anybody can see."""
    try:
        if not sys.stdin.isatty():
            return read_line().decode()
        text: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeDecodeError:
        raise click.ClickException("the password is not UTF-8") from None


def read_line() -> bytes:
    """A line of standard input, without its end. Raises Unusable when there is none, or it has no end."""
    line = sys.stdin.buffer.readline(_LONGEST_LINE)
    if not line or len(line) == _LONGEST_LINE:
        raise Unusable("a line is expected on standard input")
    return line.removesuffix(b"\n").removesuffix(b"\r")
