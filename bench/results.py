"""results.json: what was measured, with what, and where."""

import json
import platform
import re
import shutil
import subprocess
import time
from argparse import ArgumentTypeError
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import msgspec

from bench.plan import CORES, Figure
from bench.servers import ROOT
from bench.table import Row
from service import mariadb

BENCH = Path(__file__).parent
NAME = "results.json"
_PACKAGES = ("uvicorn", "starlette", "uvloop", "aiomysql", "bcrypt", "msgspec", "python-jose")
_OWN = (":!bench/*.json", ":!bench/pictures")  # what a run writes is no change to what it measures


class _Rounds(msgspec.Struct):
    rounds: list[Figure]


def write(folder: Path, about: dict[str, object], rows: Sequence[Row], figures: Sequence[Figure]) -> Path:
    """Returns the path of the file: a line a row and a line a figure, so that a diff of two runs can be read."""
    machine = json.dumps(about, indent=1).replace("\n", "\n ")
    table = ",\n  ".join(_line(asdict(row)) for row in rows)
    rounds = ",\n  ".join(_line(asdict(figure)) for figure in figures)
    path = folder / NAME
    path.write_text(f'{{\n "machine": {machine},\n "table": [\n  {table}\n ],\n "rounds": [\n  {rounds}\n ]\n}}\n')
    return path


def read(path: Path) -> list[Figure]:
    """The figures of all rounds. Raises OSError and msgspec.DecodeError."""
    return msgspec.json.decode(path.read_bytes(), type=_Rounds).rounds


def folder(text: str) -> Path:
    """One that a run is to write to, made before it: a run takes long. Raises ArgumentTypeError."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentTypeError(f"{text}: {error.strerror}") from None
    return path


def machine() -> dict[str, object]:
    """What the figures depend on, as it is at the start of a run."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _output("git", "rev-parse", "HEAD") or None,
        "dirty": bool(_output("git", "status", "--porcelain", "--", ".", *_OWN)),
        "cpu": _cpu(),
        "cores": len(CORES),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "mariadb": _found(r"Ver (\S+)", _output(mariadb.program("mariadbd", "mysqld"), "--version")),
            "wrk": _found(r"wrk (\S+)", _output("wrk", "--version")),
            **{name: version(name) for name in _PACKAGES},
        },
    }


def _line(record: dict[str, object]) -> str:
    return json.dumps(_short(record))


def _short(value: object) -> object:
    """Without what is empty, and with six digits of each number: no measurement has more."""
    if isinstance(value, dict):
        return {name: _short(part) for name, part in value.items() if part is not None and part not in ("", (), {})}
    if isinstance(value, list | tuple):
        return [_short(part) for part in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _cpu() -> str | None:
    if platform.system() == "Linux":
        return _found(r"(?m)^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text())
    return platform.processor() or None


def _found(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match[1] if match else None


def _output(*command: str) -> str:
    """What it prints; nothing where there is no such program."""
    if not shutil.which(command[0]):
        return ""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
