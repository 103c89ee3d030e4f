"""What a report says, section by section, and the pictures that it shows."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from configs import SETTING_NAMES
from dataset.annotations import video_ids
from engine.evaluation import Evaluation
from engine.experiment import Experiment
from engine.predictions import BACKGROUND
from tools.drawing.timelines import HEARD, JOINED, SEEN, Dots, Timeline
from tools.report.figures import (
    ACCURACIES,
    draw_accuracies,
    draw_class_accuracy,
    draw_confusion,
    draw_curves,
    draw_dots,
    draw_length_accuracy,
    draw_timelines,
)
from tools.report.page import Picture, Section, Table
from tools.report.statistics import correlation, known_bias, statistics

EXTREMES = 3  # videos shown of the worst, the median and the best
NO_TERM = {"epoch", "train_accuracy", "val_accuracy", "test_accuracy", "lr", "seconds", "videos_per_s"}

TERMS = {  # of the training loss, in a sentence
    "supervised": "is_event: event or not, per segment; event: which event, per video; um_ and mm_ are of the unimodal "
    "and the multimodal gates: gate, their own event or not; score, which event they tell.",
    "weakly": "event: which event the video shows, or background; gate: the same as told by the gates.",
}


class Report:
    """A report on a checkpoint; ``sections`` draws the pictures.

    Args:
        out: the folder of the pictures.
        experiment: what was scored.
        metrics: the epochs of the run, if there is one.
        evaluation: the detailed evaluation of the split.
        seen: the same where each video has the sound of a video of another event; None where the split has no other.
        heard: the same where each video has the picture of such a video; None where the split has no other.
    """

    def __init__(
        self,
        out: Path,
        experiment: Experiment,
        metrics: Sequence[dict[str, float]],
        evaluation: Evaluation,
        seen: Evaluation | None,
        heard: Evaluation | None,
    ) -> None:
        self.out, self.experiment, self.metrics = out, experiment, metrics
        self.evaluation, self.seen, self.heard = evaluation, seen, heard
        self.stats = statistics(evaluation)
        self.names = [*experiment.class_names(), BACKGROUND]
        self.rows = experiment.folder.split(experiment.options.split).rows.tolist()
        self.setting = experiment.model.setting
        self.present = [k for k in range(self.stats.num_events) if self.stats.counts[k]]

    # ---------------------------------------------------------------------------------------------------- head

    @property
    def title(self) -> str:
        """What the page is on."""
        return f"MAGAN, {SETTING_NAMES[self.setting]}, on the {self.experiment.options.split} split"

    @property
    def lead(self) -> list[str]:
        """What was scored, and how."""
        config, checkpoint = self.experiment.config, self.experiment.checkpoint
        epoch = checkpoint.scores.get("epoch")
        if checkpoint.published:
            made = ", published by the authors"
        else:
            made = f", after epoch {epoch}" if epoch else ""
        return [
            f"Checkpoint {checkpoint.path}{made}; data {self.experiment.options.data_root}. Scored in attention scope "
            f"{config.model.scope}, {config.training.precision}, batches of {config.training.test_batch_size}; a "
            f"segment is an event above the probability {config.model.event_threshold:g}."
        ]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """The figures at a glance."""
        stats, (n, t) = self.stats, self.stats.truth.shape
        event = stats.truth < stats.num_events
        best = self.evaluation.details.class_probability[:, : stats.num_events].argmax(dim=-1).numpy()
        with_event = stats.video_event < stats.num_events
        named = np.mean(best[with_event] == stats.video_event[with_event]) if with_event.any() else math.nan
        right = stats.predicted == stats.truth
        return [
            (_percent(self.evaluation.accuracy, 2), "of all segments are right"),
            (_percent(self.evaluation.background, 2), "by always answering background"),
            (_percent(100 * right[event].mean() if event.any() else math.nan), "of the segments with an event"),
            (_percent(stats.class_accuracy[-1]), "of the background segments"),
            (_percent(stats.spotting_accuracy), "right that there is an event, or none"),
            (_percent(100 * named), "of the videos: the likeliest event is the true one"),
            (f"{n:,}", f"videos of {t} segments, a second each"),
        ]

    def sections(self) -> list[Section]:
        """All sections, in the order of the page."""
        return [
            *([self.training()] if self.metrics else []),
            self.accuracy(),
            self.confusion(),
            self.modalities(),
            self.timelines(),
            self.numbers(),
        ]

    # ---------------------------------------------------------------------------------------------------- sections

    def training(self) -> Section:
        """The curves of the run."""
        epochs = [int(row["epoch"]) for row in self.metrics]
        terms = {name: [row[name] for row in self.metrics] for name in self.metrics[0] if name not in NO_TERM}
        accuracies = {name: [row[name] for row in self.metrics] for name in ACCURACIES if name in self.metrics[0]}
        best = self.experiment.checkpoint.scores.get("epoch")
        draw_curves(self.out / "loss.png", epochs, terms, best)
        draw_accuracies(self.out / "accuracy.png", epochs, accuracies, self.setting == "weakly", best)
        first, last = self.metrics[0], self.metrics[-1]
        reached = ", ".join(
            f"{ACCURACIES[name][0]} {max(known):.1f} %"
            for name, values in accuracies.items()
            if (known := [value for value in values if math.isfinite(value)])
        )
        return Section(
            "Training",
            [],
            [
                Picture(
                    self.out / "loss.png",
                    f"Training loss and its terms over {len(epochs)} epochs: the loss goes from {first['loss']:.3f} "
                    f"to {last['loss']:.3f}.",
                    "The training loss and its terms, mean over the videos of an epoch. Dotted: the epoch that was "
                    f"kept. {TERMS[self.setting]}",
                ),
                Picture(
                    self.out / "accuracy.png",
                    f"Accuracy over {len(epochs)} epochs; the highest are {reached}.",
                    "Accuracy over the epochs."
                    + (
                        " In training, only videos have labels, so it counts videos."
                        if self.setting == "weakly"
                        else ""
                    ),
                ),
            ],
        )

    def accuracy(self) -> Section:
        """Per event, and by the event's length."""
        stats = self.stats
        draw_class_accuracy(self.out / "events.png", stats, self.names, self.evaluation.accuracy)
        draw_length_accuracy(self.out / "lengths.png", stats)
        known = [k for k in self.present if np.isfinite(stats.class_accuracy[k])]
        worst, best = (f(known, key=lambda k: stats.class_accuracy[k]) for f in (min, max)) if known else (None, None)
        ends = (
            f": from {self.names[best]} with {stats.class_accuracy[best]:.0f} % to {self.names[worst]} with "
            f"{stats.class_accuracy[worst]:.0f} %"
            if known
            else ""
        )
        lengths = np.unique(stats.event_length)
        by_length = "; ".join(
            f"{length} s: {stats.video_accuracy[stats.event_length == length].mean():.0f} %" for length in lengths
        )
        return Section(
            "Accuracy by event",
            [],
            [
                Picture(
                    self.out / "events.png",
                    f"Accuracy of {len(known)} events{ends}; background {stats.class_accuracy[-1]:.0f} %.",
                    "How many of the segments of each class are right. Dashed: the accuracy on all segments.",
                ),
                Picture(
                    self.out / "lengths.png",
                    f"Accuracy by the length of the event. {by_length}.",
                    "Accuracy on all segments of the videos whose event lasts so long, with the number of these "
                    "videos below. Black: what always answering background reaches on them.",
                ),
            ],
        )

    def confusion(self) -> Section:
        """What is taken for what."""
        draw_confusion(self.out / "confusion.png", self.stats, self.names)
        wrong = self.stats.confusion.copy()
        np.fill_diagonal(wrong, 0)
        truth, predicted = np.unravel_index(wrong.argmax(), wrong.shape)
        most = f"{wrong.max()} segments of {self.names[truth]} are taken for {self.names[predicted]}"
        error = f"the most frequent error: {most}" if wrong.max() else "there is no error"
        alt = f"Confusion matrix of {len(self.names)} classes; {error}."
        caption = (
            "A row per true class, the last one is background: the percentage of its segments that are predicted as "
            "each class."
        )
        if (self.stats.counts == 0).any():
            caption += " Hatched: a class that the split has no segments of."
        return Section("Confusion", [], [Picture(self.out / "confusion.png", alt, caption, wide=True)])

    def modalities(self) -> Section:
        """The gates, and what the network knows by one modality alone."""
        gates, gates_said, pictures = self._gates()
        balances = {"the difference of the unimodal gates": gates[0].values - gates[1].values, "m": gates[2].values}
        if self.seen is None:
            test_said = "not available: all videos of the split show one event."
        else:
            known, test_said, picture = self._mismatched()
            balances["the difference of only picture and only sound right"] = known[1].values - known[2].values
            pictures.append(picture)
        paragraphs = [f"Gates. {gates_said}", f"A test without gates: {test_said}", *self._against_the_truth(balances)]
        return Section("What the model hears, and what it sees", paragraphs, pictures)

    def _gates(self) -> tuple[list[Dots], str, list[Picture]]:
        """The gates of each event, what is to be said of them, and their picture, if there are events."""
        stats = self.stats
        values = [gate.numpy() for gate in self.evaluation.details.observation[2:]]  # (n, t) each
        labels = {"u of the picture": SEEN, "u of the sound": HEARD, "m, multimodal": JOINED}
        gates = [
            Dots(label, stats.event_mean(gate), style)
            for (label, style), gate in zip(labels.items(), values, strict=True)
        ]
        event = stats.truth < stats.num_events
        means = "; ".join(
            f"{label} {_mean(gate[event])} on events and {_mean(gate[~event])} on background"
            for label, gate in zip(labels, values, strict=True)
        )
        reads = {
            "supervised": "u of the picture (in the paper u_v) reads the encoded picture, u of the sound (u_a) the "
            "encoded sound. Both are trained to be high where there is an event.",
            "weakly": "As published, the gate named u_a reads the visual query and the one named u_v the audio query; "
            "here each is named for what it reads. No loss is on these gates themselves, and they weigh only the part "
            f"alpha = {self.experiment.config.model.alpha:g} of what passes.",
        }[self.setting]
        trained = {
            "supervised": " The loss, as published, also wants m to be high on events, so it says at least as much "
            "about event or background as about picture or sound.",
            "weakly": "",
        }[self.setting]
        said = (
            f"{reads} m weighs visual' against audio': 1 is visual' alone, 0 audio' alone. But each of these two has "
            f"been made from both modalities before, so {_not_deprived(values[2])}.{trained} Means: {means}."
        )
        if not self.present:
            return gates, said, []
        order = sorted(self.present, key=lambda k: gates[0].values[k] - gates[1].values[k])
        draw_dots(self.out / "gates.png", gates, self.names, order, "mean gate on the segments of the event")
        picture = Picture(
            self.out / "gates.png",
            f"Mean gates per event. By them, {_ends(self.names, order)}. {means}.",
            "The gates of each event, on its segments, sorted by the difference of the unimodal ones: rather heard at "
            "the top, rather seen at the bottom.",
        )
        return gates, said, [picture]

    def _mismatched(self) -> tuple[list[Dots], str, Picture]:
        """What is known of each event by both modalities and by one alone, what is to be said of it, and its picture.

        A split that has another event than one has an event.
        """
        stats = self.stats
        known = [
            Dots("both", stats.video_mean(self._true_event(self.evaluation)), JOINED),
            Dots("picture right, sound of another event", stats.video_mean(self._true_event(self.seen)), SEEN),
            Dots("sound right, picture of another event", stats.video_mean(self._true_event(self.heard)), HEARD),
        ]
        order = sorted(self.present, key=lambda k: known[1].values[k] - known[2].values[k])
        draw_dots(self.out / "modalities.png", known, self.names, order, "mean probability of the true event")
        both, seen, heard = (_mean(each.values[self.present]) for each in known)
        said = (
            "each video gets the sound of another one, the next in the split that shows another event, or its picture: "
            "what the network still knows of the true event, it has from the other modality. Mean over the events of "
            f"the probability of the true one: both right {both}, only the picture right {seen}, only the sound right "
            f"{heard}."
        )
        picture = Picture(
            self.out / "modalities.png",
            f"Mean probability of the true event: both {both}, picture alone {seen}, sound alone {heard}. By the "
            f"difference, {_ends(self.names, order)}.",
            "The probability of the true event when only one modality is the video's own, sorted by the difference: "
            "rather heard at the top, rather seen at the bottom.",
        )
        return known, said, picture

    def timelines(self) -> Section:
        """The worst, the median and the best videos."""
        stats, options = self.stats, self.experiment.options
        ids = video_ids(self.experiment.folder.root, self.rows)
        probability = self.evaluation.details.event_probability.numpy()
        pictures = []
        for name, places in stats.extremes(EXTREMES).items():
            if not len(places):
                continue
            timelines = [
                Timeline(
                    f"{self.names[stats.video_event[i]]} · {stats.video_accuracy[i]:.0f} % right\n"
                    + " · ".join(filter(None, (f"row {self.rows[i]}", ids[i]))),
                    stats.truth[i],
                    stats.predicted[i],
                    probability[i],
                )
                for i in places
            ]
            path = self.out / f"timelines_{name}.png"
            draw_timelines(path, timelines, self.names, self.experiment.config.model.event_threshold)
            described = "; ".join(
                f"{' · '.join(line.title.splitlines())}: {_spans(line.truth, self.names)}, "
                f"predicted {_spans(line.predicted, self.names)}"
                for line in timelines
            )
            pictures.append(Picture(path, f"{name.title()} videos. {described}.", f"The {name} videos."))
        return Section(
            "Videos",
            [
                f"Truth, prediction and the probability of an event, second by second, of the worst, the median and "
                f"the best videos of the {options.split} split. All segments are in predictions.csv, beside this page."
            ],
            pictures,
        )

    def numbers(self) -> Section:
        """The figures of each class."""
        stats = self.stats
        wrong = stats.confusion.copy()
        np.fill_diagonal(wrong, 0)
        rows = []
        for k in [*self.present, stats.num_events]:
            other = wrong[k].argmax()
            rows.append(
                (
                    self.names[k],
                    str(stats.videos[k]) if k < stats.num_events else "",
                    str(stats.counts[k]),
                    _percent(stats.class_accuracy[k]),
                    _percent(stats.class_precision[k]),
                    f"{self.names[other]} ({wrong[k, other]})" if wrong[k, other] else "",
                )
            )
        head = ("event", "videos", "segments", "right", "precision", "most often taken for")
        text = (
            "Right: of the segments of this class, those that are predicted as it. Precision: of the segments "
            "predicted as this class, those that are of it."
        )
        return Section("Numbers", [text], table=Table(head, rows, text=(5,)))

    # ---------------------------------------------------------------------------------------------------- parts

    def _true_event(self, evaluation: Evaluation) -> np.ndarray:
        """(n,), the probability of each video's true event; 0 where it has none."""
        probability = evaluation.details.class_probability.numpy()
        event = self.stats.video_event
        inside = np.minimum(event, probability.shape[1] - 1)
        return np.where(event < self.stats.num_events, probability[np.arange(len(event)), inside], 0)

    def _against_the_truth(self, balances: Mapping[str, np.ndarray]) -> list[str]:
        """How values (K,) per event, by what they are, go with what is known of synthetic data."""
        bias = known_bias(self.experiment.folder)
        if bias is None:
            return []
        said = "; ".join(
            f"{name} {'cannot be told' if (r := correlation(values, bias)) is None else f'{r:+.2f}'}"
            for name, values in balances.items()
        )
        return [
            "Against the truth. This data is synthetic, and how much better each event can be seen than heard is "
            f"known. Correlation with it over {len(self.present)} events (1 is perfect, 0 none, below 0 the opposite): "
            f"{said}."
        ]


def _percent(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f} %" if math.isfinite(value) else "none"


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.2f}" if values.size else "none"


def _ends(names: Sequence[str], order: Sequence[int]) -> str:
    return f"{names[order[0]]} is heard most and {names[order[-1]]} is seen most"


def _not_deprived(multimodal: np.ndarray) -> str:
    """What a multimodal gate (n, t) near one of its ends does not mean."""
    end, deprived = ("1", "deaf") if multimodal.mean() > 0.5 else ("0", "blind")
    return f"m near {end} does not mean that the model is {deprived}"


def _spans(classes: np.ndarray, names: Sequence[str]) -> str:
    """The events of a video (t,) in words."""
    bounds = [0, *(np.flatnonzero(np.diff(classes)) + 1), len(classes)]
    spans = [
        f"{names[classes[start]]} from {start} to {end} s"
        for start, end in pairwise(bounds)
        if names[classes[start]] != BACKGROUND
    ]
    return ", ".join(spans) or BACKGROUND
