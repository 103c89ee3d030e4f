"""The pictures of a report, one PNG per function."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from tools.drawing.plots import (
    AUDIO,
    GATES,
    GREY,
    INK,
    JOINT,
    LINE,
    NAME_LENGTH,
    NARROW,
    PALE,
    VISUAL,
    WIDE,
    light_grid,
    picture,
    shortened,
)
from tools.drawing.timelines import Timeline, draw_segments, outcome_patches
from tools.report.statistics import Statistics

ACCURACY_LINES = (("-", "o", GREY), ("--", "s", VISUAL), ("-.", "^", AUDIO))  # of train, val and test
EMPTY = {"fc": PALE, "ec": GREY, "hatch": "////", "lw": 0}  # of a class without segments


def draw_losses(path: Path, epochs: np.ndarray, losses: Mapping[str, np.ndarray], best: int | None) -> None:
    """Draw the training loss over the epochs, and below it each of its terms in a small plot of its own."""
    rows = 1 + math.ceil((len(losses) - 1) / 2)
    with picture(path, NARROW, 1.3 * rows + 0.3) as figure:
        grid = figure.add_gridspec(rows, 2)
        for place, (name, values) in enumerate(losses.items()):
            row, column = divmod(place + 1, 2) if place else (0, slice(None))
            axes = figure.add_subplot(grid[row, column])
            axes.plot(epochs, values, color=INK, lw=1.3, marker="o" if len(epochs) <= 30 else "", ms=2.5)
            axes.set_title(name, loc="left", pad=3)
            _over_epochs(axes, epochs, best)
        figure.supxlabel("epoch", fontsize=8.5)


def draw_accuracies(path: Path, epochs: np.ndarray, accuracies: Mapping[str, np.ndarray], best: int | None) -> None:
    """Draw the accuracies on train, val and test, by their label, over the epochs in which they were measured."""
    with picture(path, NARROW, 2.7) as figure:
        axes = figure.subplots()
        for (name, values), (line, marker, colour) in zip(accuracies.items(), ACCURACY_LINES, strict=True):
            known = np.isfinite(values)
            style = {"color": colour, "lw": 1.4, "ls": line, "marker": marker, "ms": 4}
            axes.plot(epochs[known], values[known], label=name, markevery=max(1, known.sum() // 12), **style)
        _over_epochs(axes, epochs, best)
        axes.set(xlabel="epoch", ylabel="accuracy (%)")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, columnspacing=1.2, handlelength=1.9)


def _over_epochs(axes: Axes, epochs: np.ndarray, best: int | None) -> None:
    light_grid(axes, "y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    if len(epochs) == 1:
        axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
    if best is not None:
        axes.axvline(best, color=GREY, lw=1, ls=":", label=f"checkpoint: epoch {best}")


def draw_class_accuracy(path: Path, stats: Statistics, names: Sequence[str], accuracy: float) -> None:
    """Draw the recall of each event, from the best to the worst, then of background, with the counts."""
    background = stats.num_events
    shown = [*sorted(stats.present, key=lambda k: -stats.recall[k]), background]
    with picture(path, NARROW, LINE * len(shown) + 0.75, names) as figure:
        axes = figure.subplots()
        colours = [JOINT] * (len(shown) - 1) + [GREY]
        axes.barh(range(len(shown)), np.nan_to_num(stats.recall[shown]), height=0.72, color=colours)
        columns = {  # with the position of their right edge
            "%": (116, [f"{stats.recall[k]:.0f}" if stats.counts[k] else "" for k in shown]),
            "segments": (158, stats.counts[shown]),
            "videos": (191, [*stats.videos[shown[:-1]], ""]),
        }
        for name, (right, values) in columns.items():
            axes.text(right, -0.9, name, ha="right", va="bottom", fontsize=7, color=GREY)
            for place, value in enumerate(values):
                axes.text(right, place, value, ha="right", va="center", fontsize=7.5)
        axes.axvline(accuracy, color=INK, lw=1, ls="--")
        side = "right" if accuracy > 40 else "left"
        axes.text(accuracy, -0.9, f"all {accuracy:.1f} %", ha=side, va="bottom", fontsize=7.5)
        _name_rows(axes, [names[k] for k in shown])
        axes.set(xlim=(0, 192), xticks=range(0, 101, 25))
        axes.set_xlabel("correct segments (%)", x=50 / 192)
        axes.spines["bottom"].set_bounds(0, 100)


def draw_length_accuracy(path: Path, stats: Statistics) -> None:
    """Draw the accuracy by event length, beside that of always predicting background."""
    lengths = np.array(list(stats.length_accuracy))
    segments = stats.truth.shape[1]
    with picture(path, NARROW, 2.7) as figure:
        axes = figure.subplots()
        bars = axes.bar(lengths, stats.length_accuracy.values(), width=0.7, color=JOINT, label="the model")
        axes.bar_label(bars, fmt="%.0f", padding=2, fontsize=7.5)
        background = 100 * (segments - lengths) / segments
        axes.hlines(background, lengths - 0.42, lengths + 0.42, color=INK, lw=1.6, label="always background")
        videos = np.bincount(stats.event_length)[lengths]
        axes.set_xticks(lengths, [f"{length}\n{count}" for length, count in zip(lengths, videos, strict=True)])
        axes.set(xlabel="event length (s), number of videos", ylabel="accuracy (%)", ylim=(0, 112))
        axes.set_yticks(range(0, 101, 25))
        light_grid(axes, "y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def draw_confusion(path: Path, stats: Statistics, names: Sequence[str]) -> None:
    """Draw the percentage of the segments of each class that are predicted as each class; background is the last."""
    classes = len(stats.confusion)
    with np.errstate(invalid="ignore"):
        share = 100 * stats.confusion / stats.counts[:, None]  # NaN in the row of a class without segments
    side = min(WIDE, max(NARROW, 0.215 * classes + 2.2))
    large = classes <= 12
    with picture(path, side, 0.93 * side, names) as figure:
        axes = figure.subplots()
        axes.patch.set(**EMPTY)  # seen through NaN
        grid = {"edgecolors": PALE, "lw": 0.5}
        image = axes.pcolormesh(np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=100, **grid)
        labels = [shortened(name, NAME_LENGTH) for name in names]
        axes.set_xticks(np.arange(classes) + 0.5, labels, rotation=90, fontsize=8 if large else 7)
        axes.set_yticks(np.arange(classes) + 0.5, labels, fontsize=8 if large else 7)
        axes.set(xlabel="predicted", ylabel="truth", ylim=(classes, 0))
        axes.tick_params(length=0)
        axes.spines[:].set(visible=True, color=GREY)
        for truth, predicted in np.argwhere(share >= 0.5):
            value = share[truth, predicted]
            style = {"color": "white" if value > 55 else INK, "fontsize": 7 if large else 5.5}
            axes.text(predicted + 0.5, truth + 0.5, f"{value:.0f}", ha="center", va="center", **style)
        figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.6, pad=0.01)
        if np.isnan(share).any():
            handle = Patch(**EMPTY, label="no segments of this class")
            figure.legend(handles=[handle], loc="outside upper right", fontsize=8 if large else 7)


def draw_modalities(
    path: Path, values: Mapping[str, np.ndarray], names: Sequence[str], order: Sequence[int], label: str
) -> None:
    """Draw values (K,) in [0, 1] of the picture, of the sound and of both, one row per event of ``order``."""
    with picture(path, NARROW, LINE * len(order) + 1.05, names) as figure:
        axes = figure.subplots()
        rows = np.arange(len(order))
        shown = np.array([each[order] for each in values.values()])
        axes.hlines(rows, shown.min(axis=0), shown.max(axis=0), color=PALE, lw=3, zorder=1)
        lines = [
            axes.plot(each, rows, ls="", label=name, **style)[0]
            for each, name, style in zip(shown, values, GATES.values(), strict=True)
        ]
        _name_rows(axes, [names[k] for k in order])
        axes.set(xlim=(-0.03, 1.03), xlabel=label)
        light_grid(axes, "x")
        columns = 1 if max(map(len, values)) > 20 else len(values)
        figure.legend(handles=lines, loc="outside upper center", ncols=columns, handletextpad=0.3)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), [shortened(name, NAME_LENGTH) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_timelines(path: Path, timelines: Sequence[Timeline], names: Sequence[str], threshold: float) -> None:
    """Draw truth, prediction and event probability of some videos, second by second, one below the other."""
    texts = [*names, *(timeline.title for timeline in timelines)]
    with picture(path, NARROW, 1.17 * len(timelines) + 0.75, texts) as figure:
        panels = figure.subplots(len(timelines), sharex=True, squeeze=False)[:, 0]
        for axes, timeline in zip(panels, timelines, strict=True):
            seconds = len(timeline.truth)
            draw_segments(axes, 2, timeline.truth, timeline.truth, names)
            draw_segments(axes, 1, timeline.predicted, timeline.truth, names)
            axes.stairs(0.9 * timeline.event_probability, range(seconds + 1), color=INK, lw=1.3)
            line = axes.hlines(0.9 * threshold, 0, seconds, color=GREY, lw=0.9, ls="--")
            axes.hlines([0, 0.9], 0, seconds, color=[GREY, PALE], lw=0.8, zorder=0)
            for probability in (0, 1):
                axes.text(1.008 * seconds, 0.9 * probability, probability, va="center", fontsize=7, color=GREY)
            axes.set_title(timeline.title, loc="left", fontsize=8, pad=2)
            axes.set_yticks([2.45, 1.45, 0.45], ["truth", "predicted", "p(event)"], fontsize=7.5)
            axes.set(xlim=(0, seconds), ylim=(-0.06, 2.95), xticks=range(seconds + 1))
            axes.tick_params(length=0)
            axes.spines[:].set_visible(False)
        panels[-1].set_xlabel("time (s)")
        style = {"ncols": 4, "columnspacing": 0.9, "handlelength": 1.4, "handletextpad": 0.4, "fontsize": 7.5}
        line.set_label(f"threshold {threshold:g}")
        figure.legend(handles=[*outcome_patches(), line], loc="outside upper center", **style)
