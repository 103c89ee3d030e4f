"""The report's page: draws the pictures and fills in the template, which holds the text."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from configs import SETTING_NAMES
from dataset.annotations import BACKGROUND, video_ids
from engine.evaluation import Evaluation
from engine.evaluation.measures import partial_videos, yardsticks
from engine.evaluation.summary import localization_warning, measures_table
from engine.experiment import Experiment
from tools.drawing.pages import data_url, templates
from tools.drawing.plots import GATES, shortened
from tools.drawing.timelines import Timeline
from tools.report import figures
from tools.report.modalities import bias_correlations, gates_by_name, swap_probabilities
from tools.report.statistics import Statistics, statistics
from utils.atomic import write_text

EXTREMES = 3  # videos shown of the worst, the median and the best


def write_page(
    out: Path,
    experiment: Experiment,
    metrics: Mapping[str, np.ndarray],
    evaluation: Evaluation,
    own_picture: Evaluation | None,
    own_sound: Evaluation | None,
    videos: Mapping[str, Path] | None = None,
) -> Path:
    """Write ``report.html`` and its pictures into a folder that exists.

    Args:
        metrics: of the run, by column, (epochs,) each; empty without a run.
        evaluation: detailed evaluation of the split.
        own_picture: the same where each video has the sound of another event; None if the split shows one event.
        own_sound: the same where each video has the picture of another event.
        videos: raw videos by id; with them, those that are shown get pages that play them.
    """
    setting = experiment.model.setting
    stats, measures = statistics(evaluation), evaluation.measures()
    names = [*experiment.class_names(), BACKGROUND]
    figures.draw_class_accuracy(out / "events.png", stats, names, evaluation.accuracy)
    figures.draw_length_accuracy(out / "lengths.png", stats)
    figures.draw_confusion(out / "confusion.png", stats, names)

    gates = gates_by_name(evaluation)
    event_gates = {name: stats.event_mean(gate) for name, gate in gates.items()}
    known = event_gates if list(event_gates) == list(GATES) else {}
    gate_order = _draw_modalities(out / "gates.png", known, stats, names, "mean gate on segments of the event")
    swap = swap_probabilities(stats, evaluation, own_picture, own_sound) if own_picture and own_sound else {}
    swap_order = _draw_modalities(out / "modalities.png", swap, stats, names, "mean probability of the true event")

    extremes, pages = stats.extremes(EXTREMES), {}
    if videos is not None:
        from tools.report.video_pages import write_video_pages  # needs PyAV

        chosen, warning = np.concatenate(list(extremes.values())).tolist(), localization_warning(measures)
        pages = write_video_pages(out, videos, chosen, experiment, evaluation, names[:-1], warning)

    def embedded(name: str) -> str:
        """A picture as a data URL."""
        return data_url((out / f"{name}.png").read_bytes(), "image/png")

    environment = templates(Path(__file__).parent)
    environment.filters |= {"percent": percent, "mean": mean, "embedded": embedded}
    environment.tests["nan"] = math.isnan
    page = environment.get_template("page.html.jinja").render(
        checkpoint=experiment.checkpoint,
        options=experiment.options,
        data_root=experiment.folder.root,
        config=experiment.config,
        threshold=experiment.threshold,
        is_magan=experiment.config.network == "magan",
        setting=setting,
        setting_name=SETTING_NAMES[setting],
        evaluation=evaluation,
        measures=measures_table({"this network": measures, **yardsticks(stats.truth, stats.num_events)}),
        partial=int(partial_videos(stats.truth, stats.num_events).sum()),
        not_localizing=localization_warning(measures),
        named=measures.named,
        training=_draw_training(out, experiment, metrics) if metrics else None,
        stats=stats,
        names=names,
        classes=[*stats.present, stats.num_events],
        gates=gates,
        has_event=stats.truth < stats.num_events,
        background=stats.truth == stats.num_events,
        gate_order=gate_order,
        swap=swap,
        swap_order=swap_order,
        correlations=bias_correlations(experiment.folder, event_gates, swap),
        videos=_draw_videos(out, experiment, evaluation, stats, names, extremes),
        extremes=extremes,
        pages=pages,
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def _draw_training(out: Path, experiment: Experiment, metrics: Mapping[str, np.ndarray]) -> dict[str, Any]:
    columns, kept = list(metrics), experiment.checkpoint.scores.get("epoch")
    losses = {name: metrics[name] for name in columns[columns.index("loss") : columns.index("train_accuracy")]}
    figures.draw_losses(out / "loss.png", metrics["epoch"], losses, kept)
    train = "train (of videos)" if experiment.model.setting == "weakly" else "train"
    accuracies = {train: "train_accuracy", "val": "val_accuracy", "test": "test_accuracy"}
    accuracies = {name: metrics[column] for name, column in accuracies.items()}
    figures.draw_accuracies(out / "accuracy.png", metrics["epoch"], accuracies, kept)
    highest = [f"{name} {percent(np.nanmax(values))}" for name, values in accuracies.items()]
    return {"loss": metrics["loss"], "highest": highest}


def _draw_modalities(
    path: Path, values: Mapping[str, np.ndarray], stats: Statistics, names: Sequence[str], label: str
) -> list[int]:
    """Draw values (K,) of the picture, of the sound and of both; gives the order of the events from top to bottom.

    A variant without one of them gets no picture.
    """
    if len(values) != 3 or not stats.present:
        return []
    of_picture, of_sound, _ = values.values()
    order = sorted(stats.present, key=lambda k: of_picture[k] - of_sound[k])
    figures.draw_modalities(path, values, names, order, label)
    return order


def _draw_videos(
    out: Path,
    experiment: Experiment,
    evaluation: Evaluation,
    stats: Statistics,
    names: Sequence[str],
    extremes: Mapping[str, np.ndarray],
) -> dict[str, list[Timeline]]:
    rows = evaluation.dataset.rows.tolist()
    ids = video_ids(experiment.folder.root, rows)
    videos = {}
    for kind, chosen in extremes.items():
        timelines = [
            Timeline(
                f"{shortened(names[stats.video_event[i]], 40)} · {stats.video_accuracy[i]:.0f} % correct\n"
                + " · ".join(filter(None, (f"row {rows[i]}", shortened(ids[i], 40)))),
                stats.truth[i],
                stats.predicted[i],
                evaluation.decisions.event_probability[i].numpy(),
            )
            for i in chosen
        ]
        if timelines:
            threshold = experiment.threshold
            figures.draw_timelines(out / f"timelines_{kind}.png", timelines, names, threshold)
            videos[kind] = timelines
    return videos


def percent(value: float, digits: int = 1) -> str:
    """Format a percentage; NaN is "none"."""
    return f"{value:.{digits}f} %" if math.isfinite(value) else "none"


def mean(values: np.ndarray) -> str:
    """Format the mean of the values that are finite; that of no values is "none"."""
    values = values[np.isfinite(values)]
    return f"{values.mean():.2f}" if values.size else "none"
