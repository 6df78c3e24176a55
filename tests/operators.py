"""The operator of a service: `mstack-auth`, run as he runs it."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from service.cli import main
from tests.server import ROOT, TOOLS, environment


class Operator:
    """Runs commands on a folder of his; `err` is what the last one said on standard error."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.err = ""
        self._settings = {"JWT_KEYS": str(folder), **settings}

    def run(self, *arguments: str, code: int = 0, **settings: str) -> str:
        """What a command that ends with `code` prints; in this very process, since there are many."""
        missing = dict.fromkeys(os.environ.keys() - environment().keys())
        done = CliRunner().invoke(main, ["keys", *arguments], env={**missing, **self._settings, **settings})
        self.err = done.stderr
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code == code, done.output
        return done.stdout.strip()

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json"))
        return found


class Administrator:
    """Runs commands on a database; `err` is what the last one said on standard error."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self.err = ""
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
        """What a command that ends with `code` prints."""
        process = self.start(*arguments, **settings)
        out, err = process.communicate(stdin.encode() if isinstance(stdin, str) else stdin, timeout=60)
        self.err = err.decode()
        assert process.returncode == code, out.decode() + self.err
        assert "Traceback" not in self.err
        return out.decode().strip()

    def invoke(self, *arguments: str, code: int, stdin: str | bytes = "") -> str:
        """As `run`, in this very process: for what ends soon, and is many."""
        done = CliRunner().invoke(main, arguments, input=stdin, env=self._settings)
        self.err = done.stderr
        assert isinstance(done.exception, SystemExit | None), done.exception
        assert done.exit_code == code, done.output
        return done.stdout.strip()

    def json(self, *arguments: str, code: int = 0, stdin: str | bytes = "", **settings: str) -> Any:
        """What a program reads of a command."""
        return json.loads(self.run(*arguments, "--json", code=code, stdin=stdin, **settings))
