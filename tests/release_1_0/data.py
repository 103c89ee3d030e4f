"""The data that the runs of release 1.0 in this folder were trained on: the same numbers on every machine."""

from pathlib import Path

import h5py
import numpy as np

NUM_VIDEOS, NUM_SEGMENTS, NUM_EVENTS, NUM_NOISY = 24, 5, 3, 4
SPLITS = {"train": range(16), "val": range(16, 20), "test": range(20, 24)}


def write_data(root: Path) -> None:
    """Write an AVE folder whose events show in one channel each, two of three in every second segment."""
    root.mkdir(parents=True, exist_ok=True)
    values = np.random.Generator(np.random.PCG64(1))
    labels = np.zeros((NUM_VIDEOS, NUM_SEGMENTS, NUM_EVENTS + 1), np.float32)
    features = {}
    for suffix, count in (("", NUM_VIDEOS), ("_noisy", NUM_NOISY)):
        features[f"visual_feature{suffix}"] = values.integers(0, 8, (count, NUM_SEGMENTS, 2, 2, 16)) / 8
        features[f"audio_feature{suffix}"] = values.integers(0, 8, (count, NUM_SEGMENTS, 8)) / 8
    for row in range(NUM_VIDEOS):
        start, event = row % 3, row % NUM_EVENTS
        labels[row, :, -1] = 1
        labels[row, start : start + 3] = np.eye(NUM_EVENTS + 1)[event]
        features["visual_feature"][row, start : start + 3, ..., event] += 2
        features["audio_feature"][row, start : start + 3, event] += 2
    for name, data in {
        **{name: data.astype(np.float32) for name, data in features.items()},
        "right_labels": labels,
        "mil_labels": np.eye(NUM_EVENTS + 1, dtype=np.float32)[np.arange(NUM_VIDEOS) % NUM_EVENTS],
        "labels_noisy": np.eye(NUM_EVENTS + 1, dtype=np.float32)[[NUM_EVENTS] * NUM_NOISY],
    }.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["avadataset"] = data
    for split, rows in SPLITS.items():
        with h5py.File(root / f"{split}_order.h5", "w") as file:
            file["order"] = np.array(rows)
