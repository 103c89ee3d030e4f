"""HDF5 files of labels and of the rows of a split."""

from pathlib import Path

import numpy as np
from torch import Tensor

from dataset.hdf5 import open_hdf5, read_all
from utils.errors import InputError


def read_labels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read one-hot labels, float32, of the given shape (n, K + 1) or (n, t, K + 1), background last.

    Of several events in a segment, one is kept. Errors are those of ``read_stored_labels``.
    """
    return keep_one_event(read_stored_labels(path, shape))


def keep_one_event(labels: np.ndarray) -> np.ndarray:
    """Labels (n, t, K + 1) in which a segment has only the event with the largest index.

    In ``labels.h5`` of AVE's older release, a few rows have segments with two events. The loss takes the largest index
    for the event of a video, so the accuracy does here.
    """
    places = np.nonzero(labels[..., :-1].sum(axis=-1) > 1)
    if not len(places[0]):
        return labels
    labels = labels.copy()
    k = labels.shape[-1] - 1
    labels[places] = np.eye(k + 1, dtype=labels.dtype)[k - 1 - labels[places][:, k - 1 :: -1].argmax(axis=-1)]
    return labels


def read_stored_labels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Read labels, float32, of the given shape. A segment may have several events, a video has one.

    Raises:
        InputError: they cannot be read, have another shape, or are not ones for the classes and zeros for the others.
    """
    with open_hdf5(path) as data:
        if data.shape != shape:
            width_only = data.shape[:-1] == shape[:-1]
            reason = f" ({shape[-1] - 1} events of the config and background)" if width_only else ""
            raise InputError(f"{path}: shape {data.shape}, expected {shape}{reason}")
        if data.dtype.kind not in "fiub":
            raise InputError(f"{path}: type {data.dtype}, expected numbers")
        labels = read_all(data, path).astype(np.float32)
    events, background = labels[..., :-1].sum(axis=-1), labels[..., -1]
    one_hot = np.isin(labels, (0, 1)).all(axis=-1) & ((events > 0) != (background > 0))
    if labels.ndim == 2:
        one_hot &= events <= 1
    if not one_hot.all():
        rows = np.unique(np.nonzero(~one_hot)[0])
        raise InputError(
            f"{path}: the labels of {len(rows)} rows are not one-hot (row {rows[0]} is the first), "
            "expected a 1 for the class and 0 for the others"
        )
    return labels


def read_order(path: Path, num_rows: int) -> np.ndarray:
    """Read the row numbers (n,) of a split, int64, all of them less than ``num_rows``.

    Raises:
        InputError: they cannot be read, or are not such numbers.
    """
    with open_hdf5(path, key="order") as data:
        if data.ndim != 1 or data.dtype.kind not in "iu" or not 0 < len(data) <= num_rows:
            raise InputError(
                f"{path}: shape {data.shape}, type {data.dtype}, expected a list of row numbers, {num_rows} at most"
            )
        order = read_all(data, path).astype(np.int64)
    if order.min() < 0 or order.max() >= num_rows:
        raise InputError(f"{path}: row numbers from {order.min()} to {order.max()}, expected 0 to {num_rows - 1}")
    return order


def video_events(classes: Tensor, num_events: int) -> Tensor:
    """The event of each video (n,) from the classes of its segments (n, t); ``num_events`` if it has none.

    A video has one event class; if labels contain several, the largest index counts, as in the loss.
    """
    events = classes.where(classes < num_events, -1).amax(dim=1)
    return events.where(events >= 0, num_events)
