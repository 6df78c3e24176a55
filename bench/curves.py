"""The two pictures that are lines: latencies by percentile, and refresh by the rows of its table."""

import math
import re
import statistics
from collections.abc import Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.plan import Figure
from bench.style import GREY, MET, MISSED, panels
from bench.table import Row, summarise
from bench.wrk import Load

STORM = "verify's p99 during logins"
ROWS = re.compile(r"(refresh, )?(?P<kind>\w+)(,| among) (?P<rows>[\d,]+) (rows|sessions)")
_FEW = 1000  # rows, that the others are compared with
_HEIGHT = 3  # inches


def latency(figures: Sequence[Figure]) -> Picture | None:
    """Verify, idle and while logins keep all cores busy: the latency that each percentile stays below."""
    found = [figure for figure in figures if figure.name == STORM]
    curves = {
        "during a login storm": (MISSED, [figure.load for figure in found if figure.load]),
        "idle": (MET, [figure.limit_load for figure in found if figure.limit_load]),
    }
    if not all(loads and loads[0].percentiles for _, loads in curves.values()):
        return None
    picture, [panel] = panels([_HEIGHT])
    panel.set_title("Latency of verify: so many requests in a hundred take at most")
    for name, (color, loads) in curves.items():
        _curve(panel, name, color, loads)
    _milliseconds(panel)
    return picture


def _curve(panel: Axes, name: str, color: str, loads: Sequence[Load]) -> None:
    """The median of the rounds, and how far they lie apart."""
    percents = list(loads[0].percentiles)
    places = [_nines(float(percent)) for percent in percents]
    rounds = [[load.percentiles[percent] for load in loads] for percent in percents]
    middle = [statistics.median(values) for values in rounds]
    least, most = [min(values) for values in rounds], [max(values) for values in rounds]
    panel.fill_between(places, least, most, color=color, alpha=0.18, linewidth=0)
    _line(panel, name, color, places, middle)
    panel.set_xticks(places, [f"{percent} %" for percent in percents])


def _line(panel: Axes, name: str, color: str, across: Sequence[float], up: Sequence[float]) -> None:
    panel.plot(across, up, color=color, linewidth=2, marker="o", markersize=4.5)
    panel.annotate(
        name, (across[-1], up[-1]), (9, 0), textcoords="offset points", va="center", color=color, weight="bold"
    )


def _nines(percent: float) -> float:
    """Where a percentile stands: each next nine as far away as the last."""
    return -math.log10(1 - percent / 100)


def _milliseconds(panel: Axes) -> None:
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} ms"))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.grid(axis="y")


def rows(figures: Sequence[Figure]) -> Picture | None:
    """Refreshes a second as the table of sessions grows."""
    lines: dict[str, dict[int, Row]] = {}
    for row in summarise(figures):
        if match := ROWS.fullmatch(row.name):
            lines.setdefault(match["kind"], {})[int(match["rows"].replace(",", ""))] = row
    if not lines:
        return None
    picture, [panel] = panels([_HEIGHT])
    panel.set_title("Refreshes a second, by the number of sessions in the table")
    for (kind, found), color in zip(lines.items(), cycle((MET, MISSED, GREY))):
        _growth(panel, kind, color, found)
    panel.set_xscale("log")
    counts = sorted({count for found in lines.values() for count in found} | {_FEW})
    panel.set_xticks(counts, [f"{count:,}" for count in counts])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    panel.set_ylim(0, panel.get_ylim()[1] * 1.08)
    panel.grid(axis="y")
    return picture


def _growth(panel: Axes, kind: str, color: str, found: dict[int, Row]) -> None:
    """One way of refreshing. What it gives with few rows is the limit of the others, and may have no figure itself."""
    speeds = {count: row.value for count, row in found.items()}
    for row in found.values():
        if row.limit:
            speeds.setdefault(_FEW, row.limit)
    counts = sorted(speeds)
    _line(panel, kind, color, counts, [speeds[count] for count in counts])
