"""That the bench runs and counts; how fast anything is, no test says."""

import subprocess
import sys

from tests.server import ROOT, environment


def test_a_quick_run_measures_everything_and_nothing_is_refused() -> None:
    command = [sys.executable, "-m", "bench", "--quick"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("verify, distinct", "verify, one", "refresh, staying", "refresh, rotating", "login, 8", "login, 64"):
        [line] = [line for line in done.stdout.splitlines() if line.startswith(name)]
        assert float(line.removeprefix(name).split("/s")[0].split()[-1]) > 0
    assert "Traceback" not in done.stderr
