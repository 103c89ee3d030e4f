"""HDF5 files of labels and of the rows of a split."""

from pathlib import Path

import numpy as np
from torch import Tensor

from dataset.hdf5 import open_hdf5, read_all
from utils.errors import InputError


def read_labels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """One-hot labels, float32, of the given shape (n, K + 1) or (n, t, K + 1).

    Raises:
        InputError: they cannot be read, have another shape, or are not one-hot.
    """
    labels = open_hdf5(path)
    if labels.shape != shape:
        width_only = labels.shape[:-1] == shape[:-1]
        reason = f" ({shape[-1] - 1} events of the config and background)" if width_only else ""
        raise InputError(f"{path}: shape {labels.shape}, expected {shape}{reason}")
    if labels.dtype.kind not in "fiub":
        raise InputError(f"{path}: type {labels.dtype}, expected numbers")
    labels = read_all(labels, path).astype(np.float32)
    one_hot = np.isin(labels, (0, 1)).all(axis=-1) & (labels.sum(axis=-1) == 1)
    if not one_hot.all():
        rows = np.unique(np.nonzero(~one_hot)[0])
        raise InputError(
            f"{path}: the labels of {len(rows)} rows are not one-hot (row {rows[0]} is the first), "
            "expected a 1 for the class and 0 for the others"
        )
    return labels


def read_order(path: Path, num_rows: int) -> np.ndarray:
    """The row numbers (n,) of a split, int64, all of them less than ``num_rows``.

    Raises:
        InputError: they cannot be read, or are not such numbers.
    """
    order = open_hdf5(path, key="order")
    if order.ndim != 1 or order.dtype.kind not in "iu" or not 0 < len(order) <= num_rows:
        raise InputError(
            f"{path}: shape {order.shape}, type {order.dtype}, expected a list of row numbers, {num_rows} at most"
        )
    order = read_all(order, path).astype(np.int64)
    if order.min() < 0 or order.max() >= num_rows:
        raise InputError(f"{path}: row numbers from {order.min()} to {order.max()}, expected 0 to {num_rows - 1}")
    return order


def video_events(classes: Tensor, num_events: int) -> Tensor:
    """The event of each video (n,) from the classes of its segments (n, t); ``num_events`` if it has none.

    A video has one event class; if labels contain several, the largest index counts, as in the loss.
    """
    events = classes.where(classes < num_events, -1).amax(dim=1)
    return events.where(events >= 0, num_events)
