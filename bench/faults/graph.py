"""The picture of a soak: what the service held, what its clients saw, and when it was broken."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from bench.faults.growth import Seen
from bench.style import DASHES, GREY, INK, MET, MISSED, panels, quiet, save

_HEIGHT = 1.6  # inches
_BIN = 10  # seconds


def draw(path: Path, seen: Seen, answers: Sequence[tuple[float, int | None]]) -> None:
    """Memory, descriptors and answers over the minutes; each answer is its second from the beginning and its status."""
    held = seen.samples
    minutes = [sample.at / 60 for sample in held]
    with quiet():
        picture, (speed, memory, files) = panels([_HEIGHT * 1.3, _HEIGHT, _HEIGHT])
        speed.set_title("Answers a second, and the faults", pad=66)
        _answers(speed, answers)
        memory.set_title("Resident memory of the service, MB")
        memory.plot(minutes, [sample.memory / 1e6 for sample in held], color=MET, linewidth=1.4)
        files.set_title("Its open files and sockets")
        files.plot(minutes, [sample.connections for sample in held], color=MISSED, linewidth=1.2, label="database")
        files.plot(minutes, [sample.files for sample in held], color=MET, linewidth=1.2, label="all others")
        for panel in (speed, files):
            panel.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        for panel in (speed, memory, files):
            panel.set_ylim(0, None)
            panel.set_xlim(0, minutes[-1])
            panel.grid(axis="y")
            for fault in seen.faults:
                panel.axvline(fault.began_at / 60, color=GREY, linewidth=0.6, linestyle=DASHES, zorder=0.5)
        for fault in seen.faults:
            speed.annotate(
                fault.name, (fault.began_at / 60, 1), (0, 3),
                xycoords=("data", "axes fraction"), textcoords="offset points",
                rotation=90, ha="center", va="bottom", fontsize=6, color=INK,
            )  # fmt: skip
        files.set_xlabel("minutes")
        save(picture, path)


def _answers(panel: Axes, answers: Sequence[tuple[float, int | None]]) -> None:
    """So many with 200 and so many others, in each ten seconds."""
    bins = int(max((at for at, _ in answers), default=0) // _BIN)  # the last is not whole
    good, other = [0] * bins, [0] * bins
    for at, status in answers:
        if 0 <= at < bins * _BIN:
            (good if status == 200 else other)[int(at // _BIN)] += 1
    places = [(number + 0.5) * _BIN / 60 for number in range(bins)]
    panel.plot(places, [count / _BIN for count in good], color=MET, linewidth=1.4, label="200")
    panel.plot(places, [count / _BIN for count in other], color=MISSED, linewidth=1.4, label="others")
