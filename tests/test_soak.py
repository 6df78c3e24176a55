"""That a soak breaks things under one load that goes on, and that growth would be seen."""

import json
import subprocess
import sys
from pathlib import Path

from bench.faults.soak import fit
from tests.server import ROOT, environment


def test_a_quick_soak_keeps_every_promise_and_draws_what_it_saw(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.faults.soak", "--quick", "--into", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "soak.json").read_text())
    assert [name for name, _, _ in found["faults"]] == ["kill", "stop"]
    assert found["row"]["seen"]["200"] > 20
    assert found["row"]["verdict"]["checked"] > 4
    assert all(memory > 1_000_000 for _, memory, _, _ in found["samples"])
    assert "kill" in (tmp_path / "pictures" / "soak.svg").read_text()


def test_what_rises_more_than_its_noise_is_growth() -> None:
    times = [float(second) for second in range(100)]
    noise = [(-1.0) ** second for second in range(100)]
    assert fit(times, noise).flat
    assert fit(times, [second / 100 + part for second, part in zip(times, noise, strict=True)]).flat
    assert not fit(times, [second / 30 + part for second, part in zip(times, noise, strict=True)]).flat
    assert fit(times, [-second for second in times]).flat, "what becomes less is none"


def test_a_line_rises_by_its_slope_from_the_first_sample_to_the_last() -> None:
    line = fit([10.0, 20.0, 30.0], [1.0, 3.0, 5.0])
    assert (line.rise, line.noise) == (4.0, 0.0)
