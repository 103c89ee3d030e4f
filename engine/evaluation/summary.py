"""Measures as text: a sentence if the network does not localize, and a table."""

from collections.abc import Mapping, Sequence

import numpy as np

from engine.evaluation.measures import Measures, partial_videos, yardsticks

# A network below either value does not localize. Chance is an AUC of 0.5.
LEAST_AUC, LEAST_BACKGROUND_RECALL = 0.55, 5.0


def localization_warning(measures: Measures, name: str = "this network") -> str | None:
    """Warning that the network called ``name`` does not localize events, one sentence; None if it does."""
    reasons = []
    if measures.background_recall < LEAST_BACKGROUND_RECALL:
        reasons.append(f"it finds {measures.background_recall:.1f} % of the background seconds")
    if measures.auc < LEAST_AUC:
        reasons.append(
            "its event probability does not tell event from background seconds within a video (localization AUC "
            f"{measures.auc:.2f}, chance 0.50)"
        )
    if not reasons:
        return None
    subject, because = name[0].upper() + name[1:], " and ".join(reasons)
    return f"{subject} DOES NOT LOCALIZE EVENTS: {because}; its accuracy does not measure localization."


_ROWS = (  # name, format and values of each row of the table
    ("segment accuracy", "{:.1f} %", ("accuracy",)),
    ("  95 % interval", "{:.1f} to {:.1f} %", ("accuracy_low", "accuracy_high")),
    ("event seconds right", "{:.1f} %", ("event_recall",)),
    ("background seconds right", "{:.1f} %", ("background_recall",)),
    ("localization AUC", "{:.3f}", ("auc",)),
    ("event F1 at IoU 0.3", "{:.3f}", ("f1_iou30",)),
    ("event F1 at IoU 0.5", "{:.3f}", ("f1_iou50",)),
    ("event F1 at IoU 0.7", "{:.3f}", ("f1_iou70",)),
    ("partial videos: accuracy", "{:.1f} %", ("partial_accuracy",)),
    ("partial videos: F1 at IoU 0.3", "{:.3f}", ("partial_f1_iou30",)),
    ("partial videos: F1 at IoU 0.5", "{:.3f}", ("partial_f1_iou50",)),
    ("partial videos: F1 at IoU 0.7", "{:.3f}", ("partial_f1_iou70",)),
    ("videos named right", "{:.1f} %", ("named",)),
)


def measures_table(columns: Mapping[str, Measures]) -> list[tuple[str, ...]]:
    """Measures side by side as rows of text: the columns' names, then a row per measure that begins with its name."""
    rows: list[tuple[str, ...]] = [("", *columns)]
    for name, template, fields in _ROWS:
        values = [[getattr(measures, field) for field in fields] for measures in columns.values()]
        rows.append((name, *("none" if np.isnan(cell[0]) else template.format(*cell) for cell in values)))
    return rows


def measures_text(columns: Mapping[str, Measures], truth: np.ndarray, num_events: int) -> str:
    """The measures of networks beside those of the yardsticks, and a sentence for each network that does not localize.

    ``columns`` are the measures on a split by the name of the network, ``truth`` the classes (n, t) of the split.
    """
    partial = partial_videos(truth, num_events).sum()
    warnings = [localization_warning(measures, name) for name, measures in columns.items()]
    return "\n".join(
        [
            f"{len(truth)} videos, {partial} of them partial (with event and background seconds)",
            text_table(measures_table({**columns, **yardsticks(truth, num_events)})),
            *filter(None, warnings),
        ]
    )


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text as one aligned table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        f"{first:{widths[0]}}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        for first, *cells in rows
    )
