"""The operator of a service: `mstack-auth keys`, run as he runs it."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.server import ROOT, TOOLS, environment


class Operator:
    """Runs commands on a folder of his; `err` is what the last one said on standard error."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.err = ""
        self._settings = {"JWT_KEYS": str(folder), **settings}

    def run(self, *arguments: str, code: int = 0, **settings: str) -> str:
        """What a command that ends with `code` prints."""
        done = subprocess.run(
            [str(TOOLS / "mstack-auth"), "keys", *arguments],
            cwd=ROOT,
            env=environment(**{**self._settings, **settings}),
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        self.err = done.stderr
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout.strip()

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.run("list", "--json"))
        return found
