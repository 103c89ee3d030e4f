"""The results of runs, and their means, intervals and differences over seeds."""

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import NamedTuple

import torch
from scipy.special import stdtrit  # as scipy.stats.t.ppf, which takes a second to import

from engine.evaluation.measures import Measures, from_columns
from engine.run_folder import BEST, LAST, METRICS
from tools.compare.plan import Run
from utils.errors import InputError

FIGURES = (*Measures._fields, "best_test_accuracy", "seconds_per_epoch")  # that are compared


class Result(NamedTuple):
    """The figures of a run so far. Accuracies are percentages; 0 or NaN where nothing is recorded."""

    run: Run
    epochs: int = 0  # recorded
    best_val_epoch: int = 0  # by the accuracy on val, or by its names if the run selects by them
    val_accuracy: float = math.nan
    measures: Measures = Measures(*[math.nan] * len(Measures._fields))  # on the test split at the best val epoch
    best_test_epoch: int = 0
    best_test_accuracy: float = math.nan  # as published: the epoch is chosen on the test split itself
    seconds_per_epoch: float = math.nan  # of training, the median over epochs

    @property
    def complete(self) -> bool:
        """Whether all epochs are recorded."""
        return self.epochs >= self.run.epochs

    @property
    def figures(self) -> dict[str, float]:
        """The values of ``FIGURES``, by name."""
        return dict(zip(FIGURES, (*self.measures, self.best_test_accuracy, self.seconds_per_epoch), strict=True))


class Estimate(NamedTuple):
    """A mean over seeds with the half-width of its 95 % interval by Student's t; NaN if there are too few seeds."""

    mean: float
    half_width: float


def is_finished(run: Run) -> bool:
    """Whether a run has ended and saved everything, so that there is nothing to resume."""
    try:
        last = _contents(run.folder / LAST)
        asked = last["config"]["training"]["calibrate"]
        calibrated = asked == "none" or _contents(run.folder / BEST)["scores"].get("calibrated") == asked
        return last["training"]["state"]["epoch"] > run.epochs and calibrated
    except Exception:  # missing, or damaged in any way: the entry script resumes it, or says why it cannot
        return False


def _contents(checkpoint: Path) -> dict:
    """The contents of a checkpoint; only its pickle is read, not its tensors."""
    return torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)


def read_result(run: Run) -> Result:
    """Read the figures of a run from its ``metrics.csv``, and from the kept epoch if its threshold was calibrated."""
    path = run.folder / METRICS
    if not path.exists():
        return Result(run)
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        evaluated = [row for row in rows if row["val_accuracy"]]
        if not evaluated:
            return Result(run, epochs=len(rows))
        chosen_by = "val_named" if run.select == "names" else "val_accuracy"
        on_val, on_test = (max(evaluated, key=lambda row: float(row[name])) for name in (chosen_by, "test_accuracy"))
        kept = _contents(run.folder / BEST)["scores"] if (run.folder / BEST).exists() else {}
        if "calibrated" in kept and kept["epoch"] == int(on_val["epoch"]):
            on_val = {name: "" if value is None else value for name, value in kept.items()}
        accuracy_alone = Result(run).measures._replace(accuracy=float(on_val["test_accuracy"]))
        return Result(
            run,
            int(rows[-1]["epoch"]),
            int(on_val["epoch"]),
            float(on_val["val_accuracy"]),
            from_columns("test", on_val) or accuracy_alone,
            int(on_test["epoch"]),
            float(on_test["test_accuracy"]),
            median(float(row["seconds"]) for row in rows),
        )
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise InputError(f"{path}: is not the metrics of a run: {error}") from error


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of the values that are numbers, and its interval."""
    values = [value for value in values if math.isfinite(value)]
    if len(values) < 2:
        return Estimate(values[0] if values else math.nan, math.nan)
    quantile = stdtrit(len(values) - 1, 0.975)
    return Estimate(fmean(values), float(quantile) * stdev(values) / math.sqrt(len(values)))


def summary(results: Iterable[Result]) -> dict[str, Estimate]:
    """Each figure of one condition over its seeds."""
    figures = [result.figures for result in results]
    return {name: estimate([each[name] for each in figures]) for name in FIGURES}


def differences(results: Iterable[Result], reference: Iterable[Result]) -> dict[str, Estimate]:
    """Each figure of one condition less that of the reference with the same seed, over the seeds that both have."""
    theirs = {result.run.seed: result.figures for result in reference}
    pairs = [(result.figures, theirs[result.run.seed]) for result in results if result.run.seed in theirs]
    return {name: estimate([one[name] - other[name] for one, other in pairs]) for name in FIGURES}
