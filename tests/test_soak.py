"""That a soak breaks things under one load that goes on, and that growth would be seen."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from bench.faults import graph
from bench.faults.growth import Fault, Sample, Seen, line
from tests.server import ROOT, untraced


def test_a_quick_soak_keeps_every_promise_and_draws_what_it_saw(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.faults.soak", "--quick", "--into", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=untraced(), capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    found = json.loads((tmp_path / "soak.json").read_text(), parse_constant=pytest.fail)
    faults = {fault["name"]: fault["evidence"] for fault in found["faults"]}
    assert list(faults) == ["kill", "half-open", "idle-connections", "few-connections"]
    assert faults["half-open"]["connections that fell silent"] > 0
    assert faults["few-connections"]["refused as too many"] > 0
    assert found["row"]["seen"]["200"] > 20
    assert found["row"]["verdict"]["checked"] > 4
    assert len(found["samples"]) > 8
    assert all(memory > 1_000_000 for _, memory, _, _ in found["samples"])
    assert "half-open" in (tmp_path / "pictures" / "soak.svg").read_text()


def test_a_line_rises_by_its_slope_from_the_first_value_to_the_last() -> None:
    found = line([1.0, 3.0, 5.0])
    assert (found.rise, found.error) == (4.0, 0.0)


def test_what_rises_more_than_its_noise_explains_is_growth() -> None:
    random = Random(1)
    noise = [random.gauss() for _ in range(20)]
    assert not line(noise).grows
    assert not line([part - minute for minute, part in enumerate(noise)]).grows, "what becomes less is none"
    assert line([part + minute / 4 for minute, part in enumerate(noise)]).grows


def test_what_each_fault_takes_for_its_minute_hides_no_growth() -> None:
    a_cycle = [5.0, 11.0, 5.0, 6.0, 11.0, 11.0, 11.0, 11.0, 11.0, 2.0, 6.0]
    one_more = [*a_cycle, *(taken + 1 for taken in a_cycle)]
    assert not line(one_more).grows
    assert line(one_more, cycle=11).grows
    assert not line(a_cycle * 2, cycle=11).grows


def held(minutes: int, files: list[int], bytes_a_minute: int = 0) -> Seen:
    """Twelve samples a minute."""
    seen = Seen(cycle=11, warm_up=11 * 60)
    for number in range(minutes * 12):
        minute = number // 12
        seen.samples.append(Sample(number * 5.0, 60_000_000 + minute * bytes_a_minute, files[minute], 11))
    return seen


def test_a_descriptor_that_is_lost_each_cycle_is_growth_and_what_comes_in_the_warm_up_is_none() -> None:
    warming = [20 + minute for minute in range(11)] + [31, 30] * 11
    assert list(held(33, warming).growth()) == []
    leaking = [20] * 11 + [21] * 11 + [22] * 11
    assert [trouble.split(":")[0] for trouble in held(33, leaking).growth()] == ["open files"]


def test_memory_that_goes_on_rising_is_growth_and_what_an_allocator_takes_late_is_none() -> None:
    assert list(held(33, [20] * 33, 20_000).growth()) == []
    assert list(held(33, [20] * 33, 60_000).growth()) == ["MB of memory: +1.26 is growth"]


def test_a_soak_that_saw_no_fault_twice_after_its_warm_up_shows_nothing() -> None:
    assert list(held(22, [20] * 22).growth()) == ["too little was seen after the first 660 s"]


def test_what_was_seen_is_kept_a_line_a_fault(tmp_path: Path) -> None:
    seen = held(3, [20] * 3)
    seen.faults.append(Fault("kill", 1.0, None, {}))
    seen.write(tmp_path / "soak.json", {}, None)
    lines = (tmp_path / "soak.json").read_text().splitlines()
    assert '  {"name": "kill", "began_at": 1.0, "recovery": null, "evidence": {}}' in lines
    assert "  [5.0, 60000000, 20, 11]," in lines
    graph.draw(tmp_path / "soak.svg", seen, [(at, 200) for at in range(180)])
    assert ">kill<" in (tmp_path / "soak.svg").read_text()
