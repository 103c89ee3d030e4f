"""The picture of what CMGCA attends to in one video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from utils.figures import Dots, Timeline, draw_segments, outcome_patches
from utils.plots import GREY, INK, SEQUENTIAL, light_grid, picture

OUTLINE = "white"  # of the true regions, over a dark edge: seen on dark and on light


class Attention(NamedTuple):
    """Where CMGCA looks in one video of t segments with h x w regions, and what comes of it."""

    timeline: Timeline
    maps: Mapping[str, np.ndarray]  # by title: (t, h, w), a sum of 1 per segment
    gates: Sequence[Dots]  # (t,) each
    regions: np.ndarray | None  # (t, h, w), 1 where the event truly is
    frames: Sequence[np.ndarray] | None  # t pictures (height, width, 3)


def draw_attention(path: Path, video: Attention, names: Sequence[str], threshold: float) -> None:
    """Both attention maps second by second, above truth, prediction, gates and the probability of an event."""
    title, truth, predicted, event_probability = video.timeline
    seconds = len(truth)
    h, w = next(iter(video.maps.values())).shape[1:]
    aspect = h / w if not video.frames else video.frames[0].shape[0] / video.frames[0].shape[1]
    shares = {name: each * (h * w) for name, each in video.maps.items()}  # 1 is what each region has of even attention
    scale = Normalize(0, max(1.5, *(float(each.max()) for each in shares.values())))
    lines = [*(["frame"] if video.frames else []), *shares]

    cell = 0.92
    heights = [cell * aspect] * len(lines) + [0.62, 1.45]
    with picture(path, cell * seconds + 1.9, sum(heights) + 1.5) as figure:
        figure.get_layout_engine().set(w_pad=0.015, h_pad=0.03, wspace=0.0, hspace=0.02)
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
        grid = figure.add_gridspec(len(heights), seconds, height_ratios=heights)
        cells = np.array([[figure.add_subplot(grid[row, k]) for k in range(seconds)] for row in range(len(lines))])
        for row, line in enumerate(lines):
            for second, axes in enumerate(cells[row]):
                if video.frames:
                    _draw_frame(axes, video.frames[second], (w, h), grey=line in shares)
                if line in shares:
                    _draw_map(axes, shares[line][second], scale, over_frame=bool(video.frames))
                    if video.regions is not None:
                        _outline(axes, video.regions[second])
                axes.set(xticks=[], yticks=[], xlim=(0, w), ylim=(h, 0))
                axes.set_box_aspect(aspect)
                axes.spines[:].set_visible(False)
            cells[row, 0].set_ylabel(line, fontsize=8.5, rotation=0, ha="right", va="center")
        colours = ScalarMappable(scale, SEQUENTIAL)
        maps = cells[len(lines) - len(shares) :]
        bar = figure.colorbar(colours, ax=maps, fraction=0.03, pad=0.012, aspect=16)
        bar.set_label("attention (1: even)", fontsize=8)

        lanes, curves = (figure.add_subplot(grid[row, :]) for row in (-2, -1))
        draw_segments(lanes, 1, truth, truth, names)
        draw_segments(lanes, 0, predicted, truth, names)
        lanes.set(xlim=(0, seconds), ylim=(-0.05, 1.95), yticks=[1.45, 0.45], yticklabels=["truth", "predicted"])
        lanes.set_xticks([])
        lanes.tick_params(length=0)
        lanes.spines[:].set_visible(False)
        _draw_gates(curves, video.gates, event_probability, threshold)

        handles = [*outcome_patches(), *curves.get_legend_handles_labels()[0]]
        if video.regions is not None:
            line = Line2D(
                [],
                [],
                color=OUTLINE,
                lw=1.2,
                path_effects=[withStroke(linewidth=2.6, foreground="black")],
                label="where the event truly is",
            )
            handles.insert(0, line)
        figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.6)


def _draw_gates(axes: Axes, gates: Sequence[Dots], event_probability: np.ndarray, threshold: float) -> None:
    seconds = len(event_probability)
    axes.stairs(event_probability, range(seconds + 1), color=INK, lw=1.6, label="probability of an event")
    axes.hlines(threshold, 0, seconds, color=GREY, lw=1, ls="--", label=f"its threshold, {threshold:g}")
    for gate in gates:
        axes.plot(np.arange(seconds) + 0.5, gate.values, lw=0.8, label=gate.label, **gate.style)
    axes.set(xlim=(0, seconds), ylim=(-0.04, 1.06), yticks=[0, 0.5, 1], xticks=range(seconds + 1), xlabel="time (s)")
    light_grid(axes, "y")


def _draw_frame(axes: Axes, frame: np.ndarray, size: tuple[int, int], grey: bool) -> None:
    """A frame (height, width, 3) over w x h regions, without its colours where the map's shall show."""
    shown = frame @ (0.299, 0.587, 0.114) if grey else frame
    axes.imshow(shown, extent=(0, size[0], size[1], 0), aspect="auto", cmap="gray", vmin=0, vmax=255)


def _draw_map(axes: Axes, share: np.ndarray, scale: Normalize, over_frame: bool) -> None:
    """A map (h, w) as coloured cells, or smoothed and half transparent over a frame."""
    h, w = share.shape
    style = {"alpha": 0.6, "interpolation": "bicubic"} if over_frame else {"interpolation": "nearest"}
    axes.imshow(share, cmap=SEQUENTIAL, norm=scale, extent=(0, w, h, 0), aspect="auto", **style)


def _outline(axes: Axes, regions: np.ndarray) -> None:
    """The border of the regions (h, w) that are 1."""
    padded = np.pad(regions.astype(bool), 1)  # region (y, x) is at (y + 1, x + 1)
    across = [((x, x), (y - 1, y)) for y, x in np.argwhere(padded[:, 1:] != padded[:, :-1])]
    along = [((x - 1, x), (y, y)) for y, x in np.argwhere(padded[1:] != padded[:-1])]
    borders = [list(zip(xs, ys, strict=True)) for xs, ys in across + along]
    for colour, width in (("black", 2.6), (OUTLINE, 1.2)):
        axes.add_collection(LineCollection(borders, color=colour, lw=width, clip_on=False, capstyle="projecting"))
