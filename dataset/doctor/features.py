"""Checks of feature files: their shapes, and whether their values are finite, in range and there at all."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from dataset.doctor.report import WARNING, WRONG, Report, reads
from dataset.features import FeatureFile
from dataset.hdf5 import FAILURES, open_hdf5, unreadable
from dataset.layout import FEATURES, FILES, NOISY
from utils.errors import InputError
from utils.wording import counted, listed

SAMPLED = 16  # rows that a quick check reads, evenly spread, the first and the last among them
LARGEST = 1e4  # far above the features of any network
_MEMORY = 2**25  # bytes of rows in memory at a time

Progress = Callable[[str, Sequence[slice]], Iterable[slice]]  # wraps the loop over the parts of a file, by its name


def check_features(report: Report, full: bool, progress: Progress) -> None:
    """Check the feature files that could be opened; ``full`` reads every row, not only ``SAMPLED`` of them."""
    for name in (*FEATURES, *NOISY[:2]):
        if name in report.data:
            with report.checking(name):
                _require_shape(report, name)
                if any(reads(setting, [name]) for setting in report.settings):
                    _check_values(report, name, full, progress)


def _require_shape(report: Report, name: str) -> None:
    path, is_visual = report.root / name, name.startswith("visual")
    shape = FeatureFile(path, FILES[name].ndim, report.size.visual_dim if is_visual else report.size.audio_dim).shape
    expected = (report.size.noisy if name in NOISY else report.size.videos, report.size.segments)
    if shape[:2] != expected:
        raise InputError(
            f"{path}: {shape[0]} videos of {shape[1]} segments, expected {expected[0]} of {expected[1]}, as in other "
            "files"
        )
    if name == NOISY[0] and report.verdicts.get(FEATURES[0]) != WRONG:
        clean = report.data[FEATURES[0]].shape
        if shape[2:] != clean[2:]:
            raise InputError(f"{path}: maps of shape {shape[2:]}, expected {clean[2:]} as in {FEATURES[0]}")


def _check_values(report: Report, name: str, full: bool, progress: Progress) -> None:
    (shape, dtype), path = report.data[name], report.root / name
    if full:
        step = max(1, _MEMORY // (dtype.itemsize * math.prod(shape[1:])))
        parts = [slice(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]
    else:
        sampled = np.unique(np.linspace(0, shape[0] - 1, SAMPLED).round().astype(int)).tolist()
        parts = [slice(row, row + 1) for row in sampled]
    ranges = []
    with open_hdf5(path) as data:
        for part in progress(name, parts):
            try:
                values = data[part].reshape(part.stop - part.start, -1)
            except FAILURES as error:
                raise unreadable(path, error, f"one of rows {part.start} to {part.stop - 1}") from error
            ranges.append(np.stack([values.min(axis=1), values.max(axis=1)]).astype(np.float64))  # NaN if any value is
    lowest, highest = np.concatenate(ranges, axis=1)
    rows = np.concatenate([np.arange(shape[0])[part] for part in parts])
    finite = np.isfinite(lowest) & np.isfinite(highest)
    sampled = "" if full else f" of {len(rows)} sampled ones"

    def affected(found: np.ndarray) -> str:
        return f"{counted(int(found.sum()), f'row{sampled}', f'rows{sampled}')}: {listed(rows[found].tolist())}"

    if not finite.all():
        raise InputError(f"{path}: values that are not finite in {affected(~finite)}")
    for problem, found in (
        (f"values outside -{LARGEST:g} to {LARGEST:g}", (lowest < -LARGEST) | (highest > LARGEST)),
        ("nothing but zeros, as if never written,", (lowest == 0) & (highest == 0)),
    ):
        if found.any():
            cure = f"if this is not intended, {report.cure(name)}"
            report.add(WARNING, [name], f"{path}: {problem} in {affected(found)}", cure)
            report.approve(name, "see below")
    read = "all" if full else f"{len(rows)} sampled"
    report.approve(name, f"ok, {lowest.min():.3g} to {highest.max():.3g} in {read} rows")
