"""The tables of a comparison: ``table.csv``, ``table.md``, and ``table.html`` with a picture."""

import csv
import io
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from configs import SETTING_NAMES
from engine.evaluation.measures import Measures
from engine.evaluation.summary import LEAST_AUC, LEAST_BACKGROUND_RECALL, localization_warning
from tools.compare.picture import draw_comparison
from tools.compare.plan import Plan
from tools.compare.results import Estimate, Result, differences, read_result, summary
from tools.drawing.pages import data_url, templates
from utils.atomic import write_text

log = logging.getLogger(__name__)

Summaries = Mapping[str, Mapping[str, Estimate]]  # by condition and figure

CSV, MARKDOWN, HTML, PICTURE = "table.csv", "table.md", "table.html", "table.png"
TEMPLATES = {MARKDOWN: "table.md.jinja", HTML: "table.html.jinja"}


# The columns of the tables: by figure, the title and the digits that are shown.
_COLUMNS = {
    "accuracy": ("segment accuracy, %", 1),
    "event_recall": ("event seconds right, %", 1),
    "background_recall": ("background seconds right, %", 1),
    "auc": ("localization AUC", 3),
    "f1_iou30": ("event F1 at IoU 0.3", 3),
    "f1_iou50": ("event F1 at IoU 0.5", 3),
    "f1_iou70": ("event F1 at IoU 0.7", 3),
    "best_test_accuracy": ("best epoch on test, as published, %", 1),
    "partial_accuracy": ("partial videos: accuracy, %", 1),
    "partial_f1_iou30": ("partial videos: event F1 at IoU 0.3", 3),
    "partial_f1_iou50": ("partial videos: event F1 at IoU 0.5", 3),
    "partial_f1_iou70": ("partial videos: event F1 at IoU 0.7", 3),
    "named": ("videos named right, %", 1),
    "seconds_per_epoch": ("seconds per epoch", 1),
}
_PARTIAL = [figure for figure in _COLUMNS if figure.startswith("partial")]
_WHOLE = [figure for figure in _COLUMNS if figure not in (*_PARTIAL, "seconds_per_epoch")]
_DIFFERENCES = [figure for figure in (*_WHOLE, *_PARTIAL) if not figure.endswith(("iou30", "iou70"))]


class Table(NamedTuple):
    """A table of a page: rows of text, the first of which holds the titles of the columns."""

    title: str
    caption: str
    rows: Sequence[Sequence[str]]


def write_tables(plan: Plan, out: Path) -> list[Path]:
    """Write the tables of a comparison, of which runs may be missing, into its folder; gives the files."""
    results = [read_result(run) for run in plan.runs(out)]
    missing = [f"{r.run.name} ({r.epochs} of {r.run.epochs} epochs)" for r in results if not r.complete]
    if missing:
        log.info("missing in the tables: %s", "; ".join(missing))
    complete = {name: [r for r in results if r.run.condition == name and r.complete] for name in plan.conditions}
    summaries = {name: summary(of_condition) for name, of_condition in complete.items()}
    draw_comparison(out / PICTURE, complete, summaries, plan.reference)
    context = {
        "least_auc": LEAST_AUC,
        "least_background": LEAST_BACKGROUND_RECALL,
        "setting": SETTING_NAMES[plan.setting],
        "plan": plan,
        "missing": missing,
        "not_localizing": _not_localizing(summaries),
        "tables": _tables(plan, complete, summaries),
        "picture": data_url((out / PICTURE).read_bytes(), "image/png"),
    }
    environment = templates(Path(__file__).parent)
    texts = {CSV: _as_csv(results, plan)}
    texts |= {name: environment.get_template(template).render(context) for name, template in TEMPLATES.items()}
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def _not_localizing(summaries: Summaries) -> list[str]:
    """The conditions that do not localize, judged by their means."""
    means = {
        name: Measures(*(figures[field].mean for field in Measures._fields)) for name, figures in summaries.items()
    }
    return [name for name, measures in means.items() if localization_warning(measures)]


def _tables(plan: Plan, results: Mapping[str, Sequence[Result]], summaries: Summaries) -> list[Table]:
    """The tables of the complete runs, which are given by condition."""
    against = {name: differences(results[name], results[plan.reference]) for name in results if name != plan.reference}
    seeds = {name: str(len(results[name])) for name in results}
    sizes = {name: f"{condition.parameters:,}" for name, condition in plan.conditions.items()}
    return [
        Table(
            "Test split",
            "At the epoch with the best accuracy on val, or the most videos named right with --select names; the best "
            "epoch on test is chosen as published.",
            [*_rows(summaries, _WHOLE, seeds=seeds), *_yardstick_rows(plan, _WHOLE)],
        ),
        Table(
            "Partial videos of the test split",
            "Videos with both event and background seconds, which alone show whether an event is placed.",
            [*_rows(summaries, _PARTIAL, seeds=seeds), *_yardstick_rows(plan, _PARTIAL)],
        ),
        Table(f"Difference from {plan.reference}", "Paired by seed.", _rows(against, _DIFFERENCES, sign="+")),
        Table(
            "Size and time",
            "Time of training without evaluation, the median over the epochs of a run.",
            _rows(summaries, ["seconds_per_epoch"], parameters=sizes),
        ),
    ]


def _rows(
    estimates: Summaries,
    figures: Sequence[str],
    sign: str = "",
    **more: Mapping[str, str],
) -> list[list[str]]:
    """Titles, then a row per condition; ``more`` are columns of texts after the names, by title."""
    head = ["", *more, *(_COLUMNS[figure][0] for figure in figures)]
    rows = [
        [name, *(texts[name] for texts in more.values()), *(_text(found[f], _COLUMNS[f][1], sign) for f in figures)]
        for name, found in estimates.items()
    ]
    return [head, *rows]


def _yardstick_rows(plan: Plan, figures: Sequence[str]) -> list[list[str]]:
    return [
        [name, "", *(f"{values[f]:.{_COLUMNS[f][1]}f}" if f in values else "" for f in figures)]
        for name, values in plan.yardsticks.items()
    ]


def _text(value: Estimate, digits: int, sign: str = "") -> str:
    if math.isnan(value.mean):
        return ""
    interval = "" if math.isnan(value.half_width) else f" ± {value.half_width:.{digits}f}"
    return f"{value.mean:{sign}.{digits}f}{interval}"


def _as_csv(results: Sequence[Result], plan: Plan) -> str:
    """A row per run; empty cells where nothing is recorded."""
    text = io.StringIO(newline="")
    rows = [
        {
            "condition": result.run.condition,
            "seed": result.run.seed,
            "epochs": result.epochs,
            "of_epochs": result.run.epochs,
            "best_val_epoch": result.best_val_epoch or None,
            "val_accuracy": result.val_accuracy,
            **{f"test_{name}": value for name, value in result.measures._asdict().items()},
            "best_test_epoch": result.best_test_epoch or None,
            "best_test_accuracy": result.best_test_accuracy,
            "parameters": plan.conditions[result.run.condition].parameters,
            "seconds_per_epoch": result.seconds_per_epoch,
        }
        for result in sorted(results, key=lambda result: list(plan.conditions).index(result.run.condition))
    ]
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    for row in rows:
        writer.writerow({name: "" if value != value else value for name, value in row.items()})
    return text.getvalue()
