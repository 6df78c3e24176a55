"""That the pictures say what results.json says; how they look, somebody has to look at."""

from pathlib import Path
from xml.etree import ElementTree as ET

from bench import pictures, results
from bench.plan import Figure
from bench.table import summarise
from bench.wrk import Load


def some_figures() -> list[Figure]:
    """Two rounds as a full run has them, of which no two numbers are the same."""
    figures = []
    for number in (1.0, 1.5):
        latencies = {"50": number, "99": 2 * number, "99.99": 4 * number}
        idle, busy = (
            Load(1000 * number, number * by, number * by, number * by, 9, 100, 0, 0, latencies) for by in (1, 3)
        )
        figures += [
            Figure("verify, distinct tokens", 17000 * number, "/s", 40000, busy, at_least=0.5),
            Figure("verify's p99 during logins", busy.p99, "ms", idle.p99, busy, at_most=3, limit_load=idle),
            Figure("refresh, staying, 100,000 rows", 2000 * number, "/s", 2100),
            Figure("refresh, staying, 2,000,000 rows", 1900 * number, "/s", 2100),
        ]
    return figures


def words(picture: Path) -> list[str]:
    """The texts in it, which have to be texts, not outlines."""
    return [element.text or "" for element in ET.parse(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_pictures_are_drawn_from_the_results_alone_and_are_the_same_each_time(tmp_path: Path) -> None:
    figures = some_figures()
    written = results.write(tmp_path, {}, summarise(figures), figures)
    assert results.read(written) == figures
    first, second = (pictures.draw(written, tmp_path / name) for name in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    limits, latency, rows = map(words, first)
    assert {"verify, distinct tokens", "0.53", "\N{GREATER-THAN OR EQUAL TO} 0.5"} <= set(limits)
    assert {"idle", "during a login storm", "99.99 %"} <= set(latency)
    assert {"staying", "1,000", "100,000", "2,000,000"} <= set(rows)


def test_no_picture_of_an_earlier_run_stays_when_there_is_nothing_to_draw_it_from(tmp_path: Path) -> None:
    figures = some_figures()
    drawn = pictures.draw(results.write(tmp_path, {}, [], figures), tmp_path)
    pictures.draw(results.write(tmp_path, {}, [], figures[:1]), tmp_path)
    assert [path.name for path in drawn if path.exists()] == ["limits.svg"]
