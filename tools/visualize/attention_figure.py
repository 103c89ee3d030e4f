"""The picture of what CMGCA attends to in one video."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch.nn import functional as F

from tools.drawing.plots import GREY, INK, SEQUENTIAL, light_grid, picture
from tools.drawing.timelines import Dots, Timeline, draw_segments, outcome_patches

OUTLINE = "white"  # of regions, over a dark edge: seen on dark and on light
NOTED = 1.25  # attention from which contours are drawn, where even is 1: around 1 they would show noise
FINENESS = 16  # grid points to a region, along either side, of smooth contours
THIN, THICK, EDGE = 1.2, 2.4, 1.4  # of lines, and what the dark edge adds


class Attention(NamedTuple):
    """Where CMGCA looks in one video of t segments with h x w regions, and what comes of it."""

    timeline: Timeline
    maps: Mapping[str, np.ndarray]  # by title: (t, h, w), a sum of 1 per segment
    gates: Sequence[Dots]  # (t,) each
    regions: np.ndarray | None  # (t, h, w), 1 where the event truly is
    frames: Sequence[np.ndarray] | None  # t pictures (height, width, 3)


def draw_attention(path: Path, video: Attention, names: Sequence[str], threshold: float) -> None:
    """Both attention maps second by second, above truth, prediction, gates and the probability of an event.

    With frames, each map is there twice: as contours over them, and by itself.
    """
    title, truth, predicted, event_probability = video.timeline
    seconds = len(truth)
    h, w = next(iter(video.maps.values())).shape[1:]
    aspect = h / w if not video.frames else video.frames[0].shape[0] / video.frames[0].shape[1]
    shares = {name: each * (h * w) for name, each in video.maps.items()}  # 1 is what each region has of even attention
    scale = Normalize(0, max(1.5, *(float(each.max()) for each in shares.values())))
    levels = (NOTED, (NOTED + scale.vmax) / 2)  # of the contours over frames
    # A map in colours has no frame below it: mixed, neither can be told, in grey even less.
    lines = [(name, over) for name in shares for over in ((True, False) if video.frames else (False,))]

    cell = 0.92
    heights = [cell * aspect] * len(lines) + [0.62, 1.45]
    with picture(path, cell * seconds + 1.7, sum(heights) + 1.5) as figure:
        figure.get_layout_engine().set(w_pad=0.015, h_pad=0.03, wspace=0.0, hspace=0.02)
        figure.suptitle(title, fontsize=10, x=0.01, ha="left")
        grid = figure.add_gridspec(len(heights), seconds, height_ratios=heights)
        cells = np.array([[figure.add_subplot(grid[row, k]) for k in range(seconds)] for row in range(len(lines))])
        for row, (name, over_frame) in enumerate(lines):
            for second, axes in enumerate(cells[row]):
                share = shares[name][second]
                if over_frame:
                    axes.imshow(_dimmed(video.frames[second]), extent=(0, w, h, 0), aspect="auto")
                    _draw_contours(axes, share, levels)
                else:
                    style = {"interpolation": "nearest", "aspect": "auto"}
                    axes.imshow(share, cmap=SEQUENTIAL, norm=scale, extent=(0, w, h, 0), **style)
                    if video.regions is not None:
                        _outline(axes, video.regions[second])
                axes.set(xticks=[], yticks=[], xlim=(0, w), ylim=(h, 0))
                axes.set_box_aspect(aspect)
                axes.spines[:].set_visible(False)
            cells[row, 0].set_ylabel(name, fontsize=8.5, rotation=0, ha="right", va="center")
        colours = ScalarMappable(scale, SEQUENTIAL)
        bar = figure.colorbar(colours, ax=cells, fraction=0.03, pad=0.012, aspect=16)
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
            handles.insert(0, _outlined(THIN, "where the event truly is"))
        if video.frames:
            contours = (f"over frames: attention above {level:.2f}" for level in levels)
            handles = [*map(_outlined, (THIN, THICK), contours), *handles]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.6)


def _draw_gates(axes: Axes, gates: Sequence[Dots], event_probability: np.ndarray, threshold: float) -> None:
    seconds = len(event_probability)
    axes.stairs(event_probability, range(seconds + 1), color=INK, lw=1.6, label="probability of an event")
    axes.hlines(threshold, 0, seconds, color=GREY, lw=1, ls="--", label=f"its threshold, {threshold:g}")
    for gate in gates:
        axes.plot(np.arange(seconds) + 0.5, gate.values, lw=0.8, label=gate.label, **gate.style)
    axes.set(xlim=(0, seconds), ylim=(-0.04, 1.06), yticks=[0, 0.5, 1], xticks=range(seconds + 1), xlabel="time (s)")
    axes.set_ylabel("probability, gates", fontsize=8.5)
    light_grid(axes, "y")


def _dimmed(frame: np.ndarray) -> np.ndarray:
    """A frame (height, width, 3), darker, so that light lines are seen on it."""
    return (0.75 * frame).astype(np.uint8)


def _draw_contours(axes: Axes, share: np.ndarray, levels: Sequence[float]) -> None:
    """Lines around where a map (h, w) is above the levels, light over dark: seen on any frame, in grey, too."""
    fine = F.interpolate(torch.from_numpy(share)[None, None], scale_factor=FINENESS, mode="bicubic")[0, 0].numpy()
    across, along = ((np.arange(size) + 0.5) / FINENESS for size in fine.shape[::-1])
    for level, width in zip(levels, (THIN, THICK), strict=True):
        if fine.min() < level < fine.max():
            lines = axes.contour(across, along, fine, [level], colors=OUTLINE, linewidths=width)
            lines.set_path_effects([withStroke(linewidth=width + EDGE, foreground="black")])


def _outlined(width: float, label: str) -> Line2D:
    """A light line over a dark one, for the legend."""
    edge = [withStroke(linewidth=width + EDGE, foreground="black")]
    return Line2D([], [], color=OUTLINE, lw=width, path_effects=edge, label=label)


def _outline(axes: Axes, regions: np.ndarray) -> None:
    """The border of the regions (h, w) that are 1."""
    padded = np.pad(regions.astype(bool), 1)  # region (y, x) is at (y + 1, x + 1)
    across = [((x, x), (y - 1, y)) for y, x in np.argwhere(padded[:, 1:] != padded[:, :-1])]
    along = [((x - 1, x), (y, y)) for y, x in np.argwhere(padded[1:] != padded[:-1])]
    borders = [list(zip(xs, ys, strict=True)) for xs, ys in across + along]
    for colour, width in (("black", THIN + EDGE), (OUTLINE, THIN)):
        axes.add_collection(LineCollection(borders, color=colour, lw=width, clip_on=False, capstyle="projecting"))
