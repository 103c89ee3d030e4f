"""What the pictures share: colours, sizes and how they are written.

The colours are after Okabe and Ito: whoever does not tell red from green sees them apart, and so does a print in grey.
Pictures are narrow, so that their type is large enough on a phone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.atomic import atomic_write
from utils.errors import os_error_as_input_error

VISUAL, AUDIO, JOINT = "#0072B2", "#D55E00", "#00805E"  # what is seen, what is heard, what joins both
RIGHT, WRONG = JOINT, AUDIO  # of answers; a wrong one is hatched, too
INK, GREY, GRID, PALE = "#1F2328", "#59636E", "#D0D7DE", "#E6EAEE"
SEQUENTIAL = "viridis"  # a colour map that grows lighter evenly
SHARES = "Blues"  # one that grows darker from white: it spares ink where most is 0
NARROW, WIDE = 4.7, 8.4  # inches
LINE = 0.2  # inches from one named row to the next
DPI = 200
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.7,
}


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches to draw in, which is then written as a PNG, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height), layout="constrained")
        try:
            yield figure
            with os_error_as_input_error(path), atomic_write(path) as temporary:
                figure.savefig(temporary, format="png", dpi=DPI)
        finally:
            plt.close(figure)


def light_grid(axes: Axes, axis: str) -> None:
    """Thin lines behind what is drawn, along ``x`` or ``y``."""
    axes.grid(axis=axis, color=GRID, lw=0.6)
    axes.set_axisbelow(True)


NAME_LENGTH = 30  # characters of an event's name beside an axis; the longest one of AVE has 29


def shortened(name: str, length: int) -> str:
    """A name in so many characters."""
    return name if len(name) <= length else name[: length - 1].rstrip(" ,(") + "…"
