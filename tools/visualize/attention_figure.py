"""The picture of the attention in one video."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch.nn import functional as F

from tools.drawing.plots import GATES, GREY, INK, light_grid, picture, shortened
from tools.drawing.timelines import Timeline, draw_segments, outcome_patches

COLOURS = "viridis"  # its lightness rises evenly
CONTOUR = 1.25  # attention of the lowest contour; even attention is 1, around which contours would show noise
FINENESS = 16  # grid points per region, in each direction, for smooth contours
THIN, THICK, EDGE = 1.2, 2.4, 1.4  # of white lines, and the width that their dark edge adds
CELL = 0.92  # inches, the width of a second


def draw_attention(
    path: Path,
    timeline: Timeline,
    maps: Mapping[str, np.ndarray],
    gates: Mapping[str, np.ndarray],
    names: Sequence[str],
    threshold: float,
    regions: np.ndarray | None = None,
    frames: Sequence[np.ndarray] | None = None,
) -> None:
    """Draw attention maps second by second, above truth, prediction, gates and event probability.

    Args:
        maps: attention by name, (t, h, w) each, summing to 1 per segment.
        gates: by name, (t,) each.
        regions: (t, h, w), 1 where the event truly is.
        frames: t frames of the video, (height, width, 3) each, uint8. With frames, each map is drawn twice: as contours
            over them, and by itself. Colours over a frame would hide it and be changed by it.
    """
    seconds, h, w = next(iter(maps.values())).shape
    aspect = h / w if frames is None else frames[0].shape[0] / frames[0].shape[1]
    shares = {name: each * (h * w) for name, each in maps.items()}  # even attention gives each region 1
    scale = Normalize(0, largest_share(maps.values()))
    levels = {THIN: CONTOUR, THICK: (CONTOUR + scale.vmax) / 2}  # by line width
    lines = [(name, over_frame) for name in shares for over_frame in ((False,) if frames is None else (True, False))]

    heights = [CELL * aspect] * len(lines) + [0.62, 1.45]
    width = CELL * seconds + 1.7
    with picture(path, width, sum(heights) + 1.5, [*names, timeline.title]) as figure:
        figure.get_layout_engine().set(w_pad=0.015, h_pad=0.03, wspace=0.0, hspace=0.02)
        figure.suptitle(shortened(timeline.title, int(11 * width)), fontsize=10, x=0.01, ha="left")
        grid = figure.add_gridspec(len(heights), seconds, height_ratios=heights)
        cells = np.array([[figure.add_subplot(grid[row, k]) for k in range(seconds)] for row in range(len(lines))])
        for row, (name, over_frame) in zip(cells, lines, strict=True):
            for second, axes in enumerate(row):
                style = {"extent": (0, w, h, 0), "interpolation": "nearest"}
                if over_frame:
                    axes.imshow((0.75 * frames[second]).astype(np.uint8), **style)  # darker, for light lines
                    _draw_contours(axes, shares[name][second], levels)
                else:
                    axes.imshow(shares[name][second], cmap=COLOURS, norm=scale, **style)
                    if regions is not None and regions[second].any():
                        _outline(axes, regions[second])
                axes.set(xticks=[], yticks=[], xlim=(0, w), ylim=(h, 0), aspect="auto", box_aspect=aspect)
                axes.spines[:].set(visible=over_frame, color=INK, lw=0.6)  # a white frame is seen on white, too
            row[0].set_ylabel(name, fontsize=8.5, rotation=0, ha="right", va="center")
        bar = figure.colorbar(ScalarMappable(scale, COLOURS), ax=cells, fraction=0.03, pad=0.012, aspect=16)
        bar.set_label("attention (1: even)", fontsize=8)

        lanes, curves = (figure.add_subplot(grid[row, :]) for row in (-2, -1))
        draw_segments(lanes, 1, timeline.truth, timeline.truth, names)
        draw_segments(lanes, 0, timeline.predicted, timeline.truth, names)
        lanes.set(xlim=(0, seconds), ylim=(-0.05, 1.95), yticks=[1.45, 0.45], yticklabels=["truth", "predicted"])
        lanes.set_xticks([])
        lanes.tick_params(length=0)
        lanes.spines[:].set_visible(False)

        curves.stairs(timeline.event_probability, range(seconds + 1), color=INK, lw=1.6, label="event probability")
        curves.hlines(threshold, 0, seconds, color=GREY, lw=1, ls="--", label=f"its threshold, {threshold:g}")
        for (name, gate), style in zip(gates.items(), cycle(GATES.values())):
            curves.plot(np.arange(seconds) + 0.5, gate, lw=0.8, label=name, **style)
        curves.set(xlim=(0, seconds), ylim=(-0.04, 1.06), yticks=[0, 0.5, 1], xticks=range(seconds + 1))
        curves.set(xlabel="time (s)", ylabel="probability, gates")
        light_grid(curves, "y")

        handles = [*outcome_patches(), *curves.get_legend_handles_labels()[0]]
        if regions is not None:
            handles.insert(0, Line2D([], [], label="true regions of the event", **_light_line(THIN)))
        if frames is not None:
            handles[:0] = [
                Line2D([], [], label=f"over frames: attention above {level:.2f}", **_light_line(width))
                for width, level in levels.items()
            ]
        figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.6)


def largest_share(maps: Iterable[np.ndarray]) -> float:
    """The end of the scale for attention maps (t, h, w), on which even attention is 1."""
    return max(1.5, *(float(each.max()) * each[0].size for each in maps))


def _light_line(width: float) -> dict[str, object]:
    """The style of a white line with a dark edge, visible on any frame and any colour."""
    return {"color": "white", "lw": width, "path_effects": [withStroke(linewidth=width + EDGE, foreground="black")]}


def _draw_contours(axes: Axes, share: np.ndarray, levels: Mapping[float, float]) -> None:
    """Draw lines around the parts of a map (h, w) above each level."""
    fine = F.interpolate(torch.from_numpy(share)[None, None], scale_factor=FINENESS, mode="bicubic")[0, 0].numpy()
    x, y = ((np.arange(size) + 0.5) / FINENESS for size in fine.shape[::-1])
    for width, level in levels.items():
        if fine.min() < level < fine.max():
            style = _light_line(width)
            lines = axes.contour(x, y, fine, [level], colors=style["color"], linewidths=width)
            lines.set_path_effects(style["path_effects"])


def _outline(axes: Axes, regions: np.ndarray) -> None:
    """Outline the regions (h, w) that are 1; those of synthetic data fill a rectangle."""
    rows, columns = np.nonzero(regions)
    top, left = rows.min(), columns.min()
    size = columns.max() + 1 - left, rows.max() + 1 - top
    axes.add_patch(Rectangle((left, top), *size, fill=False, clip_on=False, **_light_line(THIN)))
