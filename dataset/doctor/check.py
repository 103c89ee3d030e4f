"""The check of a data folder: each file by itself, then the files against each other."""

from collections.abc import Sequence
from pathlib import Path

from dataset.annotations import Annotation, class_names, read_annotations, segments_are_seconds
from dataset.doctor.features import Progress, check_features
from dataset.doctor.labels import check_labels
from dataset.doctor.orders import check_orders
from dataset.doctor.report import ERROR, NOTE, WARNING, Finding, Report
from dataset.extraction.record import networks_of, read_extraction
from dataset.hdf5 import stored_in
from dataset.layout import (
    ANNOTATIONS,
    EXTRACTION,
    FEATURES,
    FILES,
    NOISY,
    OLD_LABELS,
    TRAINING_FILES,
    find_file,
    has_noisy_set,
)
from dataset.published import is_ave
from dataset.size import AVE, common_size
from utils.errors import InputError
from utils.wording import command_line


def check_folder(
    root: Path,
    settings: tuple[str, ...] = tuple(TRAINING_FILES),
    full: bool = False,
    progress: Progress = lambda name, parts: parts,
) -> Report:
    """Check a data folder.

    Args:
        settings: those to report on; features that none of them needs are not read.
        full: read every feature, not only some rows of each file.
        progress: wraps the loop over the parts of a feature file.
    """
    report = Report(root, settings)
    _open_files(report)
    annotations = _read_annotations(report)
    report.size = common_size(report.data, annotations or (), AVE)
    annotations = annotations and _check_annotations(report, annotations)
    _check_extraction(report)
    check_features(report, full, progress)
    check_labels(report, annotations)
    check_orders(report, annotations)
    return report


def require_valid_data(root: Path, setting: str) -> list[str]:
    """Check a data folder quickly before training; gives the warnings.

    Raises:
        InputError: lists every error that concerns the setting.
    """
    report = check_folder(root, (setting,))
    if errors := report.of(ERROR):
        raise InputError(
            "\n".join([*map(_text, errors), f"See also: {command_line('check_data', '--data_root', root)}"])
        )
    return [_text(warning) for warning in report.of(WARNING)]


def _text(finding: Finding) -> str:
    return finding.message + (f"\n  {finding.cure}" if finding.cure else "")


def _open_files(report: Report) -> None:
    for name, file in FILES.items():
        path = find_file(report.root, name)
        if name in NOISY and not has_noisy_set(report.root):
            report.approve(name, "none")
            continue
        with report.checking(name):
            if not path.is_file():
                raise InputError(_absence(path))
            report.data[name] = stored_in(path, file.key)
    if not has_noisy_set(report.root):
        report.add(
            WARNING,
            NOISY,
            f"{report.root}: has no noisy videos ({', '.join(NOISY)}): training never sees a whole video of background",
            f"to train with them, {report.cure(NOISY[0])}" if is_ave(report.root) else "",
        )
    if (report.root / OLD_LABELS).is_file() and (report.root / "right_labels.h5").is_file():
        report.add(NOTE, ["right_labels.h5"], f"{report.root / OLD_LABELS}: is not read, right_labels.h5 wins")


def _check_extraction(report: Report) -> None:
    path = report.root / EXTRACTION
    try:
        record = read_extraction(report.root)
        if record and report.data.keys() & set(FEATURES) and record.get("segments") != report.size.segments:
            raise InputError(
                f"{path}: describes features of {record.get('segments')} segments, but the folder has features of "
                f"{report.size.segments}"
            )
    except InputError as error:
        cure = "put back the one that tools.extract_features wrote, or move it away: the networks are unknown then"
        report.add(ERROR, FEATURES, str(error), cure)
        return
    if record:
        how = f"by {networks_of(record)}, {record.get('frames_per_second')} pictures a second"
        report.add(NOTE, FEATURES, f"{path}: the features were extracted from videos {how}; checkpoints keep this")


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


def _check_annotations(report: Report, annotations: Sequence[Annotation]) -> Sequence[Annotation] | None:
    """The annotations, if they fit the other files."""
    path, size = report.root / ANNOTATIONS, report.size
    with report.checking(ANNOTATIONS):
        if (found := len(class_names(annotations))) != size.events:
            raise InputError(f"{path}: names {found} events, expected {size.events} as in other files")
        if len(annotations) != size.videos:
            raise InputError(
                f"{path}: has {len(annotations)} videos, expected {size.videos} as in other files: it does not "
                "belong to them"
            )
        if segments_are_seconds(annotations, size.segments):
            read_annotations(path, size.segments)
        report.approve(ANNOTATIONS, f"ok, {size.events} events")
        return annotations
    return None
