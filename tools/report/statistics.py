"""What an evaluation says of single events, of single videos and of the two modalities."""

from typing import NamedTuple

import h5py
import numpy as np

from dataset import AVEFolder
from dataset.hdf5 import read_all
from dataset.labels import video_events
from engine.evaluation import Evaluation

TRUTH = "truth.h5"  # of synthetic data: what is in every video


class Statistics(NamedTuple):
    """Of a split of n videos of t segments, K event classes and background, which is class K."""

    predicted: np.ndarray  # (n, t), classes
    truth: np.ndarray  # (n, t), classes
    video_event: np.ndarray  # (n,), the event of each video, K where it has none
    confusion: np.ndarray  # (K + 1, K + 1), segments by truth and prediction

    @property
    def num_events(self) -> int:
        """K."""
        return len(self.confusion) - 1

    @property
    def counts(self) -> np.ndarray:
        """(K + 1,), segments of each class."""
        return self.confusion.sum(axis=1)

    @property
    def videos(self) -> np.ndarray:
        """(K,), videos of each event."""
        return np.bincount(self.video_event, minlength=self.num_events + 1)[: self.num_events]

    @property
    def class_accuracy(self) -> np.ndarray:
        """(K + 1,), percent of the segments of each class that are right; NaN where there are none."""
        return _percent(np.diag(self.confusion), self.counts)

    @property
    def class_precision(self) -> np.ndarray:
        """(K + 1,), percent of the segments predicted as each class that are right; NaN where there are none."""
        return _percent(np.diag(self.confusion), self.confusion.sum(axis=0))

    @property
    def video_accuracy(self) -> np.ndarray:
        """(n,), percent of the segments of each video that are right."""
        return 100 * (self.predicted == self.truth).mean(axis=1)

    @property
    def event_length(self) -> np.ndarray:
        """(n,), how many segments of each video have an event."""
        return (self.truth < self.num_events).sum(axis=1)

    @property
    def spotting_accuracy(self) -> float:
        """Percent of the segments that are rightly said to have an event, whichever, or none."""
        event, spotted = self.truth < self.num_events, self.predicted < self.num_events
        return 100 * float((event == spotted).mean())

    def event_mean(self, values: np.ndarray) -> np.ndarray:
        """(K,), the mean of ``values`` (n, t) over the segments of each event; NaN where there are none."""
        sums = np.bincount(self.truth.ravel(), values.ravel(), minlength=self.num_events + 1)
        with np.errstate(invalid="ignore"):
            return (sums / self.counts)[: self.num_events]

    def video_mean(self, values: np.ndarray) -> np.ndarray:
        """(K,), the mean of ``values`` (n,) over the videos of each event; NaN where there are none."""
        sums = np.bincount(self.video_event, values, minlength=self.num_events + 1)[: self.num_events]
        with np.errstate(invalid="ignore"):
            return sums / self.videos

    def extremes(self, count: int) -> dict[str, np.ndarray]:
        """The ``worst``, ``median`` and ``best`` videos, ``count`` of each at most and none twice, by their place."""
        order = np.argsort(self.video_accuracy, kind="stable")
        count = min(count, max(1, len(order) // 3))
        middle = (len(order) - count) // 2
        chosen = {"worst": order[:count], "median": order[middle : middle + count], "best": order[::-1][:count]}
        seen: set[int] = set()
        for name, places in chosen.items():
            chosen[name] = np.array([place for place in places.tolist() if place not in seen], dtype=int)
            seen |= set(places.tolist())
        return chosen


def statistics(evaluation: Evaluation) -> Statistics:
    """The statistics of an evaluation."""
    predicted, truth = evaluation.predicted.numpy(), evaluation.truth.numpy()
    classes = evaluation.num_events + 1
    pairs = np.bincount((truth * classes + predicted).ravel(), minlength=classes**2)
    video_event = video_events(evaluation.truth, evaluation.num_events).numpy()
    return Statistics(predicted, truth, video_event, pairs.reshape(classes, classes))


def correlation(x: np.ndarray, y: np.ndarray) -> float | None:
    """Pearson's, over the places where both have a value; None where there is too little to tell."""
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 3 or not x.std() or not y.std():
        return None
    return float(np.corrcoef(x, y)[0, 1])


def known_bias(folder: AVEFolder) -> np.ndarray | None:
    """(K,), how much better each event is seen than heard, from -1 to 1, where the data is synthetic and says so."""
    return _from_truth(folder, "bias", (folder.num_events,))


def known_regions(folder: AVEFolder, shape: tuple[int, ...]) -> np.ndarray | None:
    """(rows, t, h, w), 1 where an event is in the picture, where the data is synthetic and says so."""
    return _from_truth(folder, "regions", shape)


def _from_truth(folder: AVEFolder, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    path = folder.root / TRUTH
    if not path.is_file():
        return None
    with h5py.File(path) as file:
        if key not in file or file[key].shape != shape:
            return None
        return read_all(file[key], path)


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return 100 * part / whole
