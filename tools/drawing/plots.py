"""Colours, sizes and output shared by all pictures.

The colours are those of Okabe and Ito, which remain distinct for colour-blind readers and in greyscale print.
Pictures are narrow so that their type stays legible on a phone.
"""

import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.drawing.fonts import font_families
from utils.atomic import atomic_write
from utils.errors import os_error_as_input_error

VISUAL, AUDIO, JOINT = "#0072B2", "#D55E00", "#00805E"
INK, GREY, GRID, PALE = "#1F2328", "#59636E", "#D0D7DE", "#E6EAEE"
NARROW, WIDE = 4.7, 8.4  # inches
LINE = 0.2  # inches between rows with a name each
DPI = 200
STYLE = {
    "text.parse_math": False,  # a name with $ is no formula
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
GATES = {  # with their markers, whose shapes stay visible where they coincide
    "picture gate": {"color": VISUAL, "marker": "o", "ms": 7.5, "mfc": "none", "mew": 1.6},
    "sound gate": {"color": AUDIO, "marker": "s", "ms": 4.2},
    "multimodal gate": {"color": JOINT, "marker": "|", "ms": 10, "mew": 2.2},
}
NAME_LENGTH = 30  # letters of an event name beside an axis; the longest in AVE has 29


@contextmanager
def drawing_style(texts: Iterable[str] = ()) -> Iterator[None]:
    """Draw in the style of this project, with fonts that have the letters of ``texts``, names of the user's data."""
    with plt.rc_context({**STYLE, "font.family": font_families(texts)}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # font_families reports it
        yield


@contextmanager
def picture(path: Path, width: float, height: float, texts: Iterable[str] = ()) -> Iterator[Figure]:
    """Give a figure of ``width`` x ``height`` inches to draw in, then write it as a PNG, completely or not at all.

    ``texts`` are those of the user's data in the picture, for which fonts are chosen.
    """
    with drawing_style(texts):
        figure = plt.figure(figsize=(width, height), layout="constrained")
        try:
            yield figure
            with os_error_as_input_error(path), atomic_write(path) as temporary:
                figure.savefig(temporary, format="png", dpi=DPI)
        finally:
            plt.close(figure)


def light_grid(axes: Axes, axis: str) -> None:
    """Draw thin grid lines behind the data, for ``x`` or ``y``."""
    axes.grid(axis=axis, color=GRID, lw=0.6)
    axes.set_axisbelow(True)


def shortened(name: str, length: int) -> str:
    """Cut a name to the width of ``length`` Latin letters, with an ellipsis; East Asian letters are twice as wide.

    Bytes of a file name that are not UTF-8, which cannot be drawn, become question marks.
    """
    name = name.encode("utf-8", "replace").decode("utf-8")
    ends = list(accumulate(1 + (unicodedata.east_asian_width(letter) in "FW") for letter in name))
    if not ends or ends[-1] <= length:
        return name
    return name[: sum(end < length for end in ends)].rstrip(" ,(") + "…"
