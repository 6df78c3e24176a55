"""python -m bench.pictures [results.json [FOLDER]]: draws what results.json says, and measures nothing."""

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench import curves, results
from bench.plan import Figure
from bench.style import DASHES, GREY, INK, MET, MISSED, panels, quiet, save
from bench.table import Row, summarise

_ROW = 0.32  # inches


def main() -> int:
    """Says which pictures it drew. Returns 1 when there are no results."""
    arguments = [Path(argument) for argument in sys.argv[1:]]
    source = arguments[0] if arguments else results.BENCH / results.NAME
    folder = arguments[1] if len(arguments) > 1 else source.parent / "pictures"
    try:
        sys.stdout.writelines(f"{path}\n" for path in draw(source, folder))
    except (OSError, msgspec.DecodeError) as error:
        sys.stderr.write(f"bench.pictures: {error}\n")
        return 1
    return 0


def draw(source: Path, folder: Path) -> list[Path]:
    """Returns the pictures for which there are figures; one of an earlier run that has none now is deleted."""
    figures = results.read(source)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = []
    for name, picture_of in PICTURES.items():
        path = folder / f"{name}.svg"
        path.unlink(missing_ok=True)
        with quiet():
            if picture := picture_of(figures):
                save(picture, path)
                drawn.append(path)
    return drawn


def limits(figures: Sequence[Figure]) -> Picture | None:
    """The ratio of each figure to its limit: medians, spread and target."""
    found = [row for row in summarise(figures) if row.limit and not curves.ROWS.fullmatch(row.name)]
    groups = {
        "Throughput, as a share of its limit": [row for row in found if row.unit == "/s"],
        "Latency and cost, as a multiple of their reference": [row for row in found if row.unit != "/s"],
    }
    groups = {title: rows for title, rows in groups.items() if rows}
    if not groups:
        return None
    picture, axes = panels([_ROW * len(rows) for rows in groups.values()])
    for panel, (title, rows) in zip(axes, groups.items(), strict=True):
        panel.set_title(title)
        _bars(panel, rows)
    _explain(picture)
    return picture


def _bars(panel: Axes, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        panel.barh(place, row.score, height=0.52, color=MISSED if row.met is False else MET)
        spread = [[row.score - row.least], [row.most - row.score]]
        panel.errorbar(row.score, place, xerr=spread, color=INK, linewidth=1, capsize=2.5)
        if (target := _target(row)) is not None:
            panel.plot([target, target], [place - 0.36, place + 0.36], color=INK, linewidth=2.4)
        margin = panel.get_yaxis_transform()
        panel.text(1.02, place, f"{row.score:.2f}", transform=margin, va="center", weight="bold")
        panel.text(1.09, place, _sign(row.target), transform=margin, va="center", color=GREY)
    panel.axvline(1, color=GREY, linewidth=1, linestyle=DASHES, zorder=0.5)
    panel.set_xlim(0, max(1, *(max(row.most, _target(row) or 0) for row in rows)) * 1.04)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    panel.set_yticks(range(len(rows)), [row.name for row in rows])
    panel.grid(axis="x")
    panel.spines["bottom"].set_visible(False)


def _target(row: Row) -> float | None:
    return float(row.target.split()[1]) if row.target else None


def _sign(target: str) -> str:
    return target.replace(">=", "\N{GREATER-THAN OR EQUAL TO}").replace("<=", "\N{LESS-THAN OR EQUAL TO}")


def _explain(picture: Picture) -> None:
    signs = {
        "median (target met, or none)": Patch(color=MET),
        "target missed": Patch(color=MISSED),
        "spread of the rounds": Line2D([], [], color=INK, linewidth=1, marker="|", markersize=6),
        "target": Line2D([], [], color=INK, linewidth=0, marker="|", markersize=11, markeredgewidth=2.4),
        "as the limit": Line2D([], [], color=GREY, linewidth=1, linestyle=DASHES),
    }
    picture.legend(signs.values(), signs.keys(), loc="outside lower left", ncols=len(signs))


PICTURES = {"limits": limits, "latency": curves.latency, "rows": curves.rows}

if __name__ == "__main__":
    sys.exit(main())
