"""The operator of a service: `mstack-auth`, run as he runs it."""

import asyncio
import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bench.servers import environment
from service.cli import main
from tests.server import ROOT, TOOLS


def _invoke(arguments: Sequence[str], settings: dict[str, str], code: int, stdin: str | bytes = "") -> tuple[str, str]:
    """What a command writes on standard output and standard error that ends with `code`, in this process."""
    missing = dict.fromkeys(os.environ.keys() - environment().keys())
    done = CliRunner().invoke(main, arguments, input=stdin, env={**missing, **settings})
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.exit_code == code, done.output
    return done.stdout.strip(), done.stderr


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Operator:
    """Runs commands on a folder of his; `err` is what the last one said on standard error."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.err = ""
        self._settings = {"JWT_KEYS": str(folder), **settings}

    def run(self, *arguments: str, code: int = 0, **settings: str) -> str:
        """What a command that ends with `code` prints; in this very process, since there are many."""
        out, self.err = _invoke(["keys", *arguments], {**self._settings, **settings}, code)
        return out

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json"))
        return found


class Administrator:
    """Runs commands on a database; `err` is what the last one said on standard error."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self.err = ""
        self.database_url = database_url
        self._settings = {"DATABASE_URL": database_url, "BCRYPT_ROUNDS": "10", **settings}

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[bytes]":
        """A command with pipes."""
        return subprocess.Popen(
            [str(TOOLS / "mstack-auth"), *arguments],
            cwd=ROOT,
            env=environment(**{**self._settings, **settings}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, code: int = 0, stdin: str | bytes = "", **settings: str) -> str:
        """What a command that ends with `code` prints; in this very process, but below an event loop."""
        if _in_event_loop():
            return self.run_apart(*arguments, code=code, stdin=stdin, **settings)
        out, self.err = _invoke(arguments, {**self._settings, **settings}, code, stdin)
        return out

    def run_apart(self, *arguments: str, code: int = 0, stdin: str | bytes = "", **settings: str) -> str:
        """As `run`, in a process of its own: for what asks for real descriptors."""
        process = self.start(*arguments, **settings)
        out, err = process.communicate(stdin.encode() if isinstance(stdin, str) else stdin, timeout=60)
        self.err = err.decode()
        assert process.returncode == code, out.decode() + self.err
        assert "Traceback" not in self.err
        return out.decode().strip()

    def json(self, *arguments: str, code: int = 0, stdin: str | bytes = "", **settings: str) -> Any:
        """What a program reads of a command."""
        return json.loads(self.run(*arguments, "--json", code=code, stdin=stdin, **settings))
