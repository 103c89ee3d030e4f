"""Timelines: blocks of seconds by class, with correct and wrong told apart by more than colour."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle

from tools.drawing.plots import AUDIO, INK, JOINT, PALE, shortened

CORRECT, WRONG, MISSED = "event, correct", "event, wrong", "event missed"
OUTCOMES = {
    CORRECT: {"fc": JOINT, "ec": "none"},
    WRONG: {"fc": "white", "ec": AUDIO, "lw": 0.9, "hatch": "////"},
    MISSED: {"fc": "white", "ec": AUDIO, "lw": 0.9, "ls": "--"},
}


class Timeline(NamedTuple):
    """Truth and prediction of one video of t segments."""

    title: str  # includes the true event, whose name does not fit into a block of one second
    truth: np.ndarray  # (t,), classes
    predicted: np.ndarray  # (t,), classes
    event_probability: np.ndarray  # (t,)


def runs(*classes: np.ndarray) -> Iterator[tuple[int, int]]:
    """The longest spans [start, end) in which none of ``classes``, (t,) each, changes."""
    changes = np.any([np.diff(each) != 0 for each in classes], axis=0)
    return pairwise([0, *(np.flatnonzero(changes) + 1).tolist(), len(classes[0])])


def draw_segments(axes: Axes, bottom: float, classes: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> None:
    """Draw a lane, 0.9 high, with a block per event of ``classes`` (t,), compared with ``truth`` (t,)."""
    background = len(names) - 1
    axes.add_patch(Rectangle((0, bottom), len(classes), 0.9, fc="white", ec=PALE, lw=0.8))
    for start, end in runs(classes, truth):
        k, correct = classes[start], classes[start] == truth[start]
        if k == background and correct:
            continue
        outcome = CORRECT if correct else MISSED if k == background else WRONG
        axes.add_patch(Rectangle((start + 0.03, bottom + 0.03), end - start - 0.06, 0.84, **OUTCOMES[outcome]))
        room = int(4.6 * (end - start)) - 1  # characters
        if k != background and room >= 4:
            style = {"color": "white"} if correct else {"color": INK, "bbox": {"fc": "white", "ec": "none", "pad": 0.8}}
            place = ((start + end) / 2, bottom + 0.43)
            axes.text(*place, shortened(names[k], room), ha="center", va="center", fontsize=7, **style)


def outcome_patches() -> list[Patch]:
    """Legend handles for the blocks of ``draw_segments``."""
    return [Patch(label=label, **style) for label, style in OUTCOMES.items()]
