"""How the pictures look, and how they are saved: the same bytes for the same figures."""

from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

INK, GREY, RULE = "#1f2933", "#66727f", "#e3e7eb"
MET, MISSED = "#3b7ea1", "#d08a3c"
DASHES = (0, (3, 3))
_FALLBACK = ("'DejaVu Sans'", "'DejaVu Sans', Verdana, Arial, sans-serif")


def quiet() -> AbstractContextManager[None]:
    """While a picture is made and saved."""
    return mpl.rc_context(
        {
            "font.family": ["DejaVu Sans"],  # its widths are those of Verdana, which viewers have
            "font.size": 9,
            "text.color": INK,
            "axes.edgecolor": RULE,
            "axes.labelcolor": GREY,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "axes.titlepad": 10,
            "xtick.color": RULE,
            "ytick.color": RULE,
            "xtick.labelcolor": GREY,
            "ytick.labelcolor": INK,
            "xtick.major.size": 0,
            "ytick.major.size": 0,
            "legend.frameon": False,
            "legend.labelcolor": GREY,
            "legend.fontsize": 8,
            "legend.handlelength": 1.4,
            "legend.columnspacing": 1.6,
            "grid.color": RULE,
            "grid.linewidth": 0.8,
            "figure.facecolor": "white",
            "figure.constrained_layout.h_pad": 0.12,
            "figure.constrained_layout.w_pad": 0.12,
            "svg.fonttype": "none",  # text stays text
            "svg.hashsalt": "mstack-auth",
        }
    )


def panels(heights: list[float]) -> tuple[Picture, list[Axes]]:
    """A picture of panels one below the other, each so many inches high within its title and its scale."""
    picture = Picture(figsize=(8, sum(heights) + 0.7 * len(heights) + 0.3), layout="constrained")
    axes = picture.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    return picture, [row[0] for row in axes]


def save(picture: Picture, path: Path) -> None:
    """As SVG, without the date and with fonts that viewers have."""
    picture.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(path.read_text().replace(*_FALLBACK))
