"""Timelines: spans of seconds by class, with truth and outcome told apart by more than colour."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from tools.drawing.plots import AUDIO, INK, JOINT, PALE, RIGHT, VISUAL, WRONG, shortened


class Timeline(NamedTuple):
    """One video of t segments."""

    title: str  # names the true event, too: a block of one second has no room for it
    truth: np.ndarray  # (t,), classes
    predicted: np.ndarray  # (t,), classes
    event_probability: np.ndarray  # (t,)


class Dots(NamedTuple):
    """A value per event, or per segment, and how it is drawn."""

    label: str
    values: np.ndarray
    style: Mapping[str, object]


# Told apart by shape, and each of them visible where they coincide.
SEEN = {"color": VISUAL, "marker": "o", "ms": 7.5, "mfc": "none", "mew": 1.6}
HEARD = {"color": AUDIO, "marker": "s", "ms": 4.2}
JOINED = {"color": JOINT, "marker": "|", "ms": 10, "mew": 2.2}


def draw_segments(axes: Axes, bottom: float, classes: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> None:
    """A lane of blocks, one per span of the same class (t,), 0.9 high, that tell right from wrong by ``truth`` (t,)."""
    background = len(names) - 1
    axes.add_patch(Rectangle((0, bottom), len(classes), 0.9, fc="white", ec=PALE, lw=0.8))
    bounds = [0, *(np.flatnonzero((np.diff(classes) != 0) | (np.diff(truth) != 0)) + 1), len(classes)]
    for start, end in pairwise(bounds):
        k, right = classes[start], classes[start] == truth[start]
        if k == background and right:
            continue
        block = {"xy": (start + 0.03, bottom + 0.03), "width": end - start - 0.06, "height": 0.84}
        if right:
            axes.add_patch(Rectangle(**block, fc=RIGHT, ec="none"))
        elif k == background:
            axes.add_patch(Rectangle(**block, fc="white", ec=WRONG, lw=0.9, ls="--"))
        else:
            axes.add_patch(Rectangle(**block, fc="white", ec=WRONG, lw=0.9, hatch="////"))
        room = int(4.6 * (end - start)) - 1
        if k != background and room >= 4:
            style = {"color": "white"} if right else {"color": INK, "bbox": {"fc": "white", "ec": "none", "pad": 0.8}}
            middle = (start + end) / 2
            axes.text(middle, bottom + 0.43, shortened(names[k], room), ha="center", va="center", fontsize=7, **style)


def outcome_patches() -> list[Patch]:
    """What the blocks of ``draw_segments`` mean, for a legend."""
    return [
        Patch(fc=RIGHT, label="event, right"),
        Patch(fc="white", ec=WRONG, hatch="////", label="event, wrong"),
        Patch(fc="white", ec=WRONG, ls="--", label="event missed"),
    ]
