"""The pictures of a report. Each function draws one as a PNG; what it shows is said in its first line."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from tools.drawing.plots import (
    AUDIO,
    GREY,
    INK,
    JOINT,
    LINE,
    NAME_LENGTH,
    NARROW,
    PALE,
    SHARES,
    VISUAL,
    WIDE,
    light_grid,
    picture,
    shortened,
)
from tools.drawing.timelines import Dots, Timeline, draw_segments, outcome_patches
from tools.report.statistics import Statistics

ACCURACIES = {  # line, marker and colour tell them apart, each by itself
    "train_accuracy": ("train", "-", "o", GREY),
    "val_accuracy": ("val", "--", "s", VISUAL),
    "test_accuracy": ("test", "-.", "^", AUDIO),
}


# ---------------------------------------------------------------------------------------------------- training


def draw_curves(path: Path, epochs: Sequence[int], terms: Mapping[str, Sequence[float]], best: int | None) -> None:
    """The training loss over the epochs, and below it each of its terms in a small diagram of its own."""
    rows = 1 + math.ceil((len(terms) - 1) / 2)
    with picture(path, NARROW, 1.3 * rows + 0.3) as figure:
        grid = figure.add_gridspec(rows, 2)
        for place, (name, values) in enumerate(terms.items()):
            row, column = divmod(place + 1, 2) if place else (0, slice(None))
            axes = figure.add_subplot(grid[row, column])
            axes.plot(epochs, values, color=INK, lw=1.3, marker="o" if len(epochs) <= 30 else "", ms=2.5)
            axes.set_title(name, loc="left", pad=3)
            _over_epochs(axes, epochs, best)
        figure.supxlabel("epoch", fontsize=8.5)


def draw_accuracies(
    path: Path, epochs: Sequence[int], accuracies: Mapping[str, Sequence[float]], counts_videos: bool, best: int | None
) -> None:
    """The accuracy on train, val and test over the epochs."""
    with picture(path, NARROW, 2.7) as figure:
        axes = figure.subplots()
        for name, values in accuracies.items():
            label, line, marker, colour = ACCURACIES[name]
            known = [(epoch, value) for epoch, value in zip(epochs, values, strict=True) if math.isfinite(value)]
            if not known:
                continue
            if name == "train_accuracy" and counts_videos:
                label = "train (of videos)"
            every = max(1, len(known) // 12)
            style = {"color": colour, "lw": 1.4, "marker": marker, "ms": 4, "markevery": every}
            axes.plot(*zip(*known, strict=True), line, label=label, **style)
        _over_epochs(axes, epochs, best)
        axes.set(xlabel="epoch", ylabel="accuracy (%)")
        if best is not None:
            axes.plot([], [], color=GREY, lw=1, ls=":", label=f"kept: epoch {best}")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, columnspacing=1.2, handlelength=1.9)


def _over_epochs(axes: Axes, epochs: Sequence[int], best: int | None) -> None:
    light_grid(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    if best is not None:
        axes.axvline(best, color=GREY, lw=1, ls=":")


# ---------------------------------------------------------------------------------------------------- accuracy


def draw_class_accuracy(path: Path, stats: Statistics, names: Sequence[str], mean: float) -> None:
    """Accuracy per event with the counts, from the best event to the worst, and of background at the end."""
    accuracy, counts = stats.class_accuracy, stats.counts
    events = [k for k in np.argsort(-np.nan_to_num(accuracy[:-1], nan=-1), kind="stable") if counts[k]]
    shown = [*events, stats.num_events]
    with picture(path, NARROW, LINE * len(shown) + 0.75) as figure:
        axes = figure.subplots()
        colours = [JOINT] * len(events) + [GREY]
        axes.barh(range(len(shown)), np.nan_to_num(accuracy[shown]), height=0.72, color=colours)
        columns = {"%": 116, "segments": 158, "videos": 191}  # where each ends
        for name, right in columns.items():
            axes.text(right, -0.9, name, ha="right", va="bottom", fontsize=7, color=GREY)
        for place, k in enumerate(shown):
            videos = stats.videos[k] if k < stats.num_events else ""
            share = f"{accuracy[k]:.0f}" if counts[k] else ""
            for text, right in zip((share, counts[k], videos), columns.values(), strict=True):
                axes.text(right, place, text, ha="right", va="center", fontsize=7.5)
        axes.axvline(mean, color=INK, lw=1, ls="--")
        axes.text(mean, -0.9, f"all {mean:.1f} %", ha="right" if mean > 40 else "left", va="bottom", fontsize=7.5)
        _name_rows(axes, [names[k] for k in shown])
        axes.set(xlim=(0, 192), xticks=range(0, 101, 25))
        axes.set_xlabel("segments that are right (%)", x=50 / 192)
        axes.spines["bottom"].set_bounds(0, 100)


def draw_confusion(path: Path, stats: Statistics, names: Sequence[str]) -> None:
    """Of the segments of each class, the share that is predicted as each class; background is the last one."""
    classes = len(stats.confusion)
    share = 100 * stats.confusion / np.maximum(stats.counts, 1)[:, None]
    side = min(WIDE, max(NARROW, 0.215 * classes + 2.2))
    with picture(path, side, 0.93 * side) as figure:
        axes = figure.subplots()
        image = axes.imshow(share, cmap=SHARES, vmin=0, vmax=100)
        empty = {"width": classes, "height": 1, "fc": PALE, "ec": GREY, "hatch": "////", "lw": 0}
        for truth in np.flatnonzero(stats.counts == 0):  # no segments: not a row of zeros
            axes.add_patch(Rectangle((-0.5, truth - 0.5), **empty))
        axes.hlines(np.arange(1, classes) - 0.5, -0.5, classes - 0.5, color=PALE, lw=0.5)
        axes.vlines(np.arange(1, classes) - 0.5, -0.5, classes - 0.5, color=PALE, lw=0.5)
        size = 8 if classes <= 12 else 7
        labels = [shortened(name, NAME_LENGTH) for name in names]
        axes.set_xticks(range(classes), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(classes), labels, fontsize=size)
        axes.set(xlabel="predicted", ylabel="truth")
        axes.tick_params(length=0)
        axes.spines[:].set(visible=True, color=GREY)
        for truth, predicted in np.argwhere(share >= 0.5):
            value = share[truth, predicted]
            colour = "white" if value > 55 else INK
            text = {"ha": "center", "va": "center", "color": colour, "fontsize": 7 if classes <= 12 else 5.5}
            axes.text(predicted, truth, f"{value:.0f}", **text)
        figure.colorbar(image, ax=axes, label="% of the segments of the true class", shrink=0.6, pad=0.01)
        if (stats.counts == 0).any():
            handle = Patch(fc=PALE, ec=GREY, hatch="////", lw=0, label="no segments of this class")
            figure.legend(handles=[handle], loc="outside upper right", fontsize=size)


def draw_length_accuracy(path: Path, stats: Statistics) -> None:
    """Accuracy of the videos whose event lasts so many seconds, beside that of always answering background."""
    lengths = np.unique(stats.event_length)
    segments = stats.truth.shape[1]
    accuracy = [stats.video_accuracy[stats.event_length == length].mean() for length in lengths]
    with picture(path, NARROW, 2.7) as figure:
        axes = figure.subplots()
        axes.bar(lengths, accuracy, width=0.7, color=JOINT, label="the model")
        background = 100 * (segments - lengths) / segments
        axes.hlines(background, lengths - 0.42, lengths + 0.42, color=INK, lw=1.6, label="always background")
        for length, value in zip(lengths, accuracy, strict=True):
            axes.text(length, value + 1.5, f"{value:.0f}", ha="center", va="bottom", fontsize=7.5)
        videos = [int((stats.event_length == length).sum()) for length in lengths]
        axes.set_xticks(lengths, [f"{length}\n{count}" for length, count in zip(lengths, videos, strict=True)])
        axes.set(xlabel="event length (s), and number of videos", ylabel="accuracy (%)", ylim=(0, 112))
        axes.set_yticks(range(0, 101, 25))
        light_grid(axes, "y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


# ---------------------------------------------------------------------------------------------------- modalities


def draw_dots(path: Path, dots: Sequence[Dots], names: Sequence[str], order: Sequence[int], label: str) -> None:
    """Values in [0, 1] per event, one row each, in the given order."""
    with picture(path, NARROW, LINE * len(order) + 1.05) as figure:
        axes = figure.subplots()
        values = np.array([each.values[list(order)] for each in dots])
        axes.hlines(range(len(order)), values.min(axis=0), values.max(axis=0), color=PALE, lw=3, zorder=1)
        for each, row in zip(dots, values, strict=True):
            axes.plot(row, range(len(order)), ls="", **each.style)
        _name_rows(axes, [names[k] for k in order])
        axes.set(xlim=(-0.03, 1.03), xlabel=label)
        light_grid(axes, "x")
        handles = [Line2D([], [], ls="", label=each.label, **each.style) for each in dots]
        columns = 1 if max(len(each.label) for each in dots) > 20 else len(dots)
        figure.legend(handles=handles, loc="outside upper center", ncols=columns, handletextpad=0.3)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [shortened(name, NAME_LENGTH) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


# ---------------------------------------------------------------------------------------------------- timelines


def draw_timelines(path: Path, timelines: Sequence[Timeline], names: Sequence[str], threshold: float) -> None:
    """Truth, prediction and the probability of an event, second by second, of some videos below each other."""
    background = len(names) - 1
    with picture(path, NARROW, 1.17 * len(timelines) + 0.75) as figure:
        panels = figure.subplots(len(timelines), 1, squeeze=False)[:, 0]
        for axes, timeline in zip(panels, timelines, strict=True):
            draw_segments(axes, 2, timeline.truth, timeline.truth, names)
            draw_segments(axes, 1, timeline.predicted, timeline.truth, names)
            seconds = len(timeline.truth)
            axes.stairs(0.9 * timeline.event_probability, range(seconds + 1), color=INK, lw=1.3)
            axes.hlines(0.9 * threshold, 0, seconds, color=GREY, lw=0.9, ls="--")
            axes.axhline(0, color=GREY, lw=0.8)
            axes.set_title(timeline.title, loc="left", fontsize=8, pad=2)
            axes.set_yticks([2.45, 1.45, 0.45], ["truth", "predicted", "p(event)"], fontsize=7.5)
            for probability in (0, 1):
                axes.hlines(0.9 * probability, 0, seconds, color=PALE, lw=0.8, zorder=0)
                mark = {"ha": "left", "va": "center", "fontsize": 7, "color": GREY}
                axes.text(1.008 * seconds, 0.9 * probability, str(probability), **mark)
            axes.set(xlim=(0, seconds), ylim=(-0.06, 2.95), xticks=range(seconds + 1))
            axes.tick_params(length=0, labelbottom=False)
            axes.spines[:].set_visible(False)
            if (timeline.truth == background).all() and (timeline.predicted == background).all():
                axes.text(seconds / 2, 1.95, "background", ha="center", va="center", fontsize=7, color=GREY)
        panels[-1].tick_params(labelbottom=True)
        panels[-1].set_xlabel("time (s)")
        figure.legend(
            handles=[*outcome_patches(), Line2D([], [], color=GREY, lw=0.9, ls="--", label=f"threshold {threshold:g}")],
            loc="outside upper center",
            ncols=4,
            columnspacing=0.9,
            handlelength=1.4,
            handletextpad=0.4,
            fontsize=7.5,
        )
