"""Whether two runs of the bench say the same, and what is said where they don't."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench import results
from bench.plan import Figure
from bench.table import summarise
from bench.wrk import Load
from tests.server import ROOT, untraced


def agreement(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.agreement", *map(str, files)]
    return subprocess.run(command, cwd=ROOT, env=untraced(), capture_output=True, text=True, timeout=60, check=False)


def run(folder: Path, ratios: Sequence[float]) -> Path:
    """The results of a run that found these, in a round each, and something else that has no limit."""
    figures = [Figure("verify", 100 * ratio, "/s", 100, at_least=0.5) for ratio in ratios]
    figures += [Figure("memory", 63 * ratio, "MB") for ratio in ratios]
    folder.mkdir()
    return results.write(folder, {}, summarise(figures), figures)


@pytest.mark.parametrize(
    ("other", "code", "line"),
    [
        ((0.6, 0.7, 0.8), 0, "verify   0.60 (0.50-0.70)   0.70 (0.60-0.80)   +17 %"),
        ((0.3, 0.4, 0.5), 0, "verify   0.60 (0.50-0.70)   0.40 (0.30-0.50)   -33 %  another verdict"),
        ((0.8, 0.9, 1.0), 1, "verify   0.60 (0.50-0.70)   0.90 (0.80-1.00)   +50 %  apart"),
        ((0.1, 0.2, 0.3), 1, "verify   0.60 (0.50-0.70)   0.20 (0.10-0.30)   -67 %  apart, another verdict"),
    ],
)
def test_two_runs_agree_where_the_spreads_of_each_ratio_meet(
    tmp_path: Path, other: Sequence[float], code: int, line: str
) -> None:
    done = agreement(run(tmp_path / "one", (0.5, 0.6, 0.7)), run(tmp_path / "other", other))
    assert (done.returncode, done.stdout, done.stderr) == (code, line + "\n", "")


def test_what_can_not_be_compared_is_named(tmp_path: Path) -> None:
    good, empty, malformed, missing = run(tmp_path / "good", (0.5, 0.6)), *(tmp_path / name for name in "abc")
    empty.write_text('{"rounds": []}')
    malformed.write_text("{}")
    refused = [Figure("verify", 50, "/s", 100, Load(50, 1, 1, 1, 1, 50, refused=1, broken=0))]
    (tmp_path / "bad").mkdir()
    bad = results.write(tmp_path / "bad", {}, summarise(refused), refused)
    for file, problem in (
        (empty, "no ratio in common"),
        (malformed, str(malformed)),
        (missing, str(missing)),
        (bad, f"{bad}: requests were refused or broken"),
    ):
        done = agreement(good, file)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("bench: ")
        assert problem in done.stderr
        assert "Traceback" not in done.stderr
