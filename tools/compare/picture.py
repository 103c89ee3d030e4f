"""The picture of a comparison."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from tools.compare.results import Estimate, Result
from tools.drawing.plots import GREY, INK, JOINT, LINE, WIDE, light_grid, picture

_PANELS = {
    "accuracy": "segment accuracy, %",
    "partial_accuracy": "the same, partial videos, %",
    "auc": "localization AUC",
}


def draw_comparison(
    path: Path,
    results: Mapping[str, Sequence[Result]],
    summaries: Mapping[str, Mapping[str, Estimate]],
    reference: str,
) -> None:
    """Draw a row per condition: each seed as a dot, their mean with its 95 % interval; the reference as a line.

    ``results`` are the complete runs by condition, ``summaries`` their means and intervals by condition and figure.
    """
    names = list(summaries)
    with picture(path, WIDE, LINE * len(names) * 1.4 + 0.9) as figure:
        panels = figure.subplots(1, len(_PANELS), sharey=True)
        for axes, (figure_name, title) in zip(panels, _PANELS.items(), strict=True):
            mean = summaries[reference][figure_name].mean
            if math.isfinite(mean):
                axes.axvline(mean, color=INK, lw=1, ls="--")
            for row, name in enumerate(names):
                values = [result.figures[figure_name] for result in results[name]]
                axes.plot(values, [row - 0.22] * len(values), "o", ms=3, color=GREY, alpha=0.7, mew=0)
                estimate = summaries[name][figure_name]
                half_width = 0 if math.isnan(estimate.half_width) else estimate.half_width
                style = {"fmt": "s", "ms": 4.5, "color": JOINT, "capsize": 2.5, "lw": 1.3}
                axes.errorbar(estimate.mean, row + 0.12, xerr=half_width, **style)
            axes.set_xlabel(title)
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.6)
            axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.tick_params(axis="y", length=0)
            light_grid(axes, "x")
