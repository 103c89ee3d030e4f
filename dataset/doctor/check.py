"""The check of a data folder: each file by itself, then the files against each other."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from configs import MAGANConfig
from dataset.annotations import Annotation, class_names, read_annotations
from dataset.doctor.features import Progress, check_features
from dataset.doctor.labels import check_labels
from dataset.doctor.orders import check_orders
from dataset.doctor.report import AVE, ERROR, NOTE, WARNING, Report, Size
from dataset.hdf5 import open_hdf5, require_stored
from dataset.layout import ANNOTATIONS, FEATURES, FILES, NOISY, OLD_LABELS, ORDERS, TRAINING_FILES, find_file
from utils.errors import InputError


def check_folder(
    root: Path,
    config: MAGANConfig,
    settings: tuple[str, ...] = tuple(TRAINING_FILES),
    full: bool = False,
    progress: Progress = lambda name, parts: parts,
) -> Report:
    """Check a data folder.

    Args:
        root: the folder.
        config: of the network to train: its feature widths and number of events are expected.
        settings: those to report on; features that none of them needs are not read.
        full: read every feature, not only some rows of each file.
        progress: wraps the loop over the parts of a feature file.
    """
    report = Report(root, settings)
    _open_files(report)
    annotations = _read_annotations(report)
    report.size = _common_size(report, annotations)
    annotations = annotations and _check_annotations(report, annotations, config.num_events)
    check_features(report, config, full, progress)
    check_labels(report, config.num_events, annotations)
    check_orders(report, annotations)
    return report


def require_valid_data(root: Path, config: MAGANConfig, setting: str) -> list[str]:
    """Check a data folder quickly before training; gives the warnings.

    Raises:
        InputError: lists every error that concerns the setting.
    """
    report = check_folder(root, config, (setting,))
    if errors := report.of(ERROR):
        lines = [f"{error.message}\n  {error.cure}" for error in errors]
        raise InputError("\n".join([*lines, f"See also: python -m tools.check_data --data_root {root}"]))
    return [warning.message for warning in report.of(WARNING)]


def _open_files(report: Report) -> None:
    for name, file in FILES.items():
        path = find_file(report.root, name)
        with report.checking(name):
            if not path.is_file():
                raise InputError(_absence(path))
            data = open_hdf5(path, file.key)
            require_stored(data, path)
            report.data[name] = data
    if (report.root / OLD_LABELS).is_file() and (report.root / "right_labels.h5").is_file():
        report.add(NOTE, ["right_labels.h5"], f"{report.root / OLD_LABELS}: is not read, right_labels.h5 wins")


def _absence(path: Path) -> str:
    return f"{path}: {'is not a file' if path.exists() else 'is missing'}"


def _read_annotations(report: Report) -> list[Annotation] | None:
    path = report.root / ANNOTATIONS
    if not path.is_file():
        consequence = "so the events are numbered, and labels cannot be compared with it"
        report.add(NOTE, [ANNOTATIONS], f"{_absence(path)}, {consequence}", report.cure(ANNOTATIONS))
        return None
    with report.checking(ANNOTATIONS):
        return read_annotations(path)
    return None


def _common_size(report: Report, annotations: Sequence[Annotation] | None) -> Size:
    """The sizes on which most files agree."""

    def lengths(names: Sequence[str], axis: int = 0) -> list[int]:
        return [data.shape[axis] for name in names if (data := report.data.get(name)) and data.ndim == FILES[name].ndim]

    def most_common(lengths: Sequence[int], default: int) -> int:
        return Counter(lengths).most_common(1)[0][0] if lengths else default

    videos = [len(annotations)] if annotations else []
    videos += lengths(("right_labels.h5", "mil_labels.h5", *FEATURES))
    if len(rows := lengths(ORDERS)) == len(ORDERS):
        videos.append(sum(rows))
    return Size(
        most_common(videos, AVE.videos),
        most_common(lengths(("right_labels.h5", *FEATURES), axis=1), AVE.segments),
        most_common(lengths(NOISY), AVE.noisy),
    )


def _check_annotations(
    report: Report, annotations: Sequence[Annotation], num_events: int
) -> Sequence[Annotation] | None:
    """The annotations, if they fit the config and the other files."""
    path = report.root / ANNOTATIONS
    with report.checking(ANNOTATIONS):
        if (found := len(class_names(annotations))) != num_events:
            raise InputError(f"{path}: names {found} events, expected {num_events} (num_events of the config)")
        if len(annotations) != report.size.videos:
            raise InputError(
                f"{path}: has {len(annotations)} videos, expected {report.size.videos} as in other files: it is of "
                "another release"
            )
        if report.size.segments == AVE.segments:  # of a second each, as the times of the annotations
            read_annotations(path, report.size.segments)
        report.approve(ANNOTATIONS, f"ok, {num_events} events")
        return annotations
    return None
