"""Whether features are what features are: finite, in range, and there at all."""

from collections.abc import Callable, Iterable, Sequence

import h5py
import numpy as np

from dataset.hdf5 import FAILURES

SAMPLED = 16  # rows that a quick look reads, evenly spread, the first and the last among them
_MEMORY = 1 << 25  # bytes of rows in memory at a time
LARGEST = 1e4  # no network's features of pictures or sounds come near

Progress = Callable[[Sequence[slice]], Iterable[slice]]


class FeatureValues:
    """What some or all rows of a feature file hold.

    Args:
        data: (n, ...), floating-point numbers.
        full: read every row, not only ``SAMPLED`` of them.
        progress: wraps the loop over what is read.
    """

    def __init__(self, data: h5py.Dataset, full: bool, progress: Progress = iter) -> None:
        self.rows_read = 0
        self.lowest, self.highest = np.inf, -np.inf  # of the finite values
        self.unreadable: list[int] = []  # row numbers
        self.not_finite: list[int] = []
        self.out_of_range: list[int] = []
        self.zero: list[int] = []  # rows without any other value
        if full:
            step = max(1, _MEMORY // (data.nbytes // len(data)))
            parts = [slice(start, min(start + step, len(data))) for start in range(0, len(data), step)]
        else:
            sampled = np.unique(np.linspace(0, len(data) - 1, SAMPLED).round().astype(int)).tolist()
            parts = [slice(row, row + 1) for row in sampled]
        for part in progress(parts):
            try:
                self._add(part.start, data[part])
            except FAILURES:
                self._add_one_by_one(data, part)

    def _add(self, start: int, values: np.ndarray) -> None:
        # The smallest and the largest value of a row tell all but whether numbers are missing in between: NaN is both.
        values = values.reshape(len(values), -1)
        lowest, highest = values.min(axis=1).astype(np.float64), values.max(axis=1).astype(np.float64)
        finite = np.isfinite(lowest) & np.isfinite(highest)
        self.rows_read += len(values)
        self._note(self.not_finite, start, ~finite)
        self._note(self.out_of_range, start, finite & ((lowest < 0) | (highest > LARGEST)))
        self._note(self.zero, start, (lowest == 0) & (highest == 0))
        self.lowest = min(self.lowest, lowest[finite].min(initial=np.inf))
        self.highest = max(self.highest, highest[finite].max(initial=-np.inf))

    def _add_one_by_one(self, data: h5py.Dataset, part: slice) -> None:
        for row in range(part.start, part.stop):
            try:
                self._add(row, data[row : row + 1])
            except FAILURES:
                self.unreadable.append(row)

    @staticmethod
    def _note(rows: list[int], start: int, which: np.ndarray) -> None:
        rows.extend((start + np.flatnonzero(which)).tolist())
