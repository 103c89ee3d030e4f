"""Statistics of an evaluation: per event, per video and per modality."""

from typing import NamedTuple

import numpy as np

from dataset.labels import video_events
from engine.evaluation import Evaluation


class Statistics(NamedTuple):
    """Statistics of n videos of t segments with K event classes; background is class K."""

    predicted: np.ndarray  # (n, t), classes
    truth: np.ndarray  # (n, t), classes
    video_event: np.ndarray  # (n,), the event of each video, K without one
    confusion: np.ndarray  # (K + 1, K + 1), segments by truth and prediction

    @property
    def num_events(self) -> int:
        """K."""
        return len(self.confusion) - 1

    @property
    def counts(self) -> np.ndarray:
        """Segments of each class, (K + 1,)."""
        return self.confusion.sum(axis=1)

    @property
    def videos(self) -> np.ndarray:
        """Videos of each event, (K + 1,); the last number counts those without event."""
        return np.bincount(self.video_event, minlength=self.num_events + 1)

    @property
    def present(self) -> list[int]:
        """Events that the split has segments of."""
        return np.flatnonzero(self.counts[:-1]).tolist()

    @property
    def recall(self) -> np.ndarray:
        """Percent of the segments of each class that are predicted as it, (K + 1,); NaN without segments."""
        return _ratio(100 * np.diag(self.confusion), self.counts)

    @property
    def precision(self) -> np.ndarray:
        """Percent of the segments predicted as each class that belong to it, (K + 1,); NaN without predictions."""
        return _ratio(100 * np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def mistakes(self) -> np.ndarray:
        """The confusion matrix without its diagonal, (K + 1, K + 1)."""
        return self.confusion * ~np.eye(len(self.confusion), dtype=bool)

    @property
    def event_accuracy(self) -> float:
        """Percent of the segments with an event that are correct; NaN without such segments."""
        return float(_ratio(100 * np.diag(self.confusion)[:-1].sum(), self.counts[:-1].sum()))

    @property
    def spotting_accuracy(self) -> float:
        """Percent of the segments for which event versus background is correct, whichever event."""
        event, spotted = self.truth < self.num_events, self.predicted < self.num_events
        return 100 * float((event == spotted).mean())

    @property
    def video_accuracy(self) -> np.ndarray:
        """Percent of the segments of each video that are correct, (n,)."""
        return 100 * (self.predicted == self.truth).mean(axis=1)

    @property
    def event_length(self) -> np.ndarray:
        """Segments with an event in each video, (n,)."""
        return (self.truth < self.num_events).sum(axis=1)

    @property
    def length_accuracy(self) -> dict[int, float]:
        """Percent of the segments that are correct in the videos of each event length, by rising length."""
        lengths = np.unique(self.event_length).tolist()
        return {length: float(self.video_accuracy[self.event_length == length].mean()) for length in lengths}

    def event_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of ``values`` (n, t) over the segments of each event, (K,); NaN without segments."""
        sums = np.bincount(self.truth.ravel(), values.ravel(), minlength=self.num_events + 1)
        return _ratio(sums, self.counts)[:-1]

    def video_mean(self, values: np.ndarray) -> np.ndarray:
        """Mean of ``values`` (n,) over the videos of each event, (K,); NaN without videos."""
        sums = np.bincount(self.video_event, values, minlength=self.num_events + 1)
        return _ratio(sums, self.videos)[:-1]

    def extremes(self, count: int) -> dict[str, np.ndarray]:
        """Indices of at most ``count`` of the ``worst``, ``median`` and ``best`` videos each, none twice."""
        worst, middle, best = np.array_split(np.argsort(self.video_accuracy, kind="stable"), 3)
        start = max(0, len(middle) - count) // 2
        return {"worst": worst[:count], "median": middle[start : start + count], "best": best[::-1][:count]}


def statistics(evaluation: Evaluation) -> Statistics:
    """Compute the statistics of an evaluation."""
    predicted, truth = evaluation.predicted.numpy(), evaluation.truth.numpy()
    confusion = np.zeros((evaluation.num_events + 1,) * 2, dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    return Statistics(predicted, truth, video_events(evaluation.truth, evaluation.num_events).numpy(), confusion)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return part / whole
