"""The doctor of data folders: whether all files are there, whole, under their own names, and of one release."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import h5py
import numpy as np

from configs import SPLITS
from configs.network import MAGANConfig
from dataset.annotations import Annotation, class_names, read_annotations
from dataset.doctor.agreement import disagreement
from dataset.doctor.findings import ERROR, NOTE, WARNING, FileLine, Report, counted, listed, needs
from dataset.doctor.values import LARGEST, FeatureValues
from dataset.features import FeatureFile
from dataset.hdf5 import open_hdf5, require_stored
from dataset.labels import read_labels, read_order
from dataset.layout import ANNOTATIONS, FEATURES, FILES, NOISY, OLD_LABELS, PUBLISHED_ORDERS, TRAINING_FILES, find_file
from utils.errors import InputError

LABELS = ("right_labels.h5", "mil_labels.h5", "labels_noisy.h5")
ORDERS = tuple(f"{split}_order.h5" for split in SPLITS)
_KEYS = {file.key for file in FILES.values()}  # two
# Files of one form, of the videos with events and of those without.
_COUNTERPARTS = (*zip(FEATURES, NOISY[:2], strict=True), ("mil_labels.h5", "labels_noisy.h5"))

# What is expected where no file says how many there are: videos, segments, videos without event.
_AVE = (4143, 10, 178)

Progress = Callable[[str, Sequence[slice]], Iterable[slice]]  # of a file's name and the parts of it that are read


def check_folder(
    root: Path,
    config: MAGANConfig,
    settings: tuple[str, ...] = tuple(TRAINING_FILES),
    full: bool = False,
    progress: Progress = lambda name, parts: parts,
) -> Report:
    """Look at a data folder.

    Args:
        root: the folder.
        config: the network that shall read it: how wide features are, how many events there are.
        settings: findings that concern none of these are left out, and so is reading their features.
        full: read every feature, not only some rows of each file.
        progress: wraps the loop over the parts of a feature file.
    """
    check = _Check(root, config, settings, full, progress)
    return check.run()


def require_valid_data(root: Path, config: MAGANConfig, setting: str) -> list[str]:
    """The quick look, before a run of ``setting``; gives warnings.

    Raises:
        InputError: every error that was found, in a sentence of its own.
    """
    report = check_folder(root, config, (setting,))
    if errors := report.of(ERROR):
        parts = [error.sentence + (f"\n  {error.cure}" if error.cure else "") for error in errors]
        raise InputError("\n".join([*parts, f"See also: python -m tools.check_data --data_root {root}"]))
    return [warning.sentence for warning in report.of(WARNING)]


class _Check:
    """One look at one folder; ``run`` goes from what needs nothing else to what needs everything else."""

    def __init__(
        self, root: Path, config: MAGANConfig, settings: tuple[str, ...], full: bool, progress: Progress
    ) -> None:
        self.root, self.config, self.full, self.progress = root, config, full, progress
        self.report = Report(root, settings)
        self.present: dict[str, h5py.Dataset] = {}  # what could be opened, by file name
        self.keys: dict[str, str] = {}  # under which key, by file name
        self.foreign: dict[str, str] = {}  # by name of a file with the key of others: what is wrong with it
        self.wrong: set[str] = set()  # files in which an error was found: what else may be said of them is moot
        self.values: dict[str, str] = {}  # by file name, for the table
        self.labels: dict[str, np.ndarray] = {}
        self.orders: dict[str, np.ndarray] = {}  # by split
        self.annotations: list[Annotation] | None = None

    def run(self) -> Report:
        self._open_files()
        self._read_annotations()
        self._find_exchanged_forms()
        self.num_videos = self._most(self._numbers_of_videos(), _AVE[0])
        self._find_exchanged_counterparts()
        self.num_segments = self._most(self._lengths(("right_labels.h5", *FEATURES), axis=1), _AVE[1])
        self.num_noisy = self._most(self._lengths(NOISY), _AVE[2])
        self._check_features()
        self._check_labels()
        self._check_orders()
        self._compare_with_annotations()
        self._list_files()
        return self.report

    # ------------------------------------------------------------------------------------------ one file by itself

    def _open_files(self) -> None:
        for name, (key, _) in FILES.items():
            path = find_file(self.root, name)
            if not path.is_file():
                self._error([name], f"{path}: {_absence(path)}", self._cure_of(name, again=path.is_dir()))
                continue
            try:
                self._open(name, path, key)
            except InputError as error:
                try:  # what is under another key can be another file of the layout
                    self._open(name, path, *_KEYS - {key})
                except InputError:
                    self._error([name], str(error), self._cure_of(name))
                else:
                    self.foreign[name] = str(error)
        if (self.root / OLD_LABELS).is_file() and (self.root / "right_labels.h5").is_file():
            self.report.add(NOTE, ["right_labels.h5"], f"{self.root / OLD_LABELS}: is not read, right_labels.h5 wins")

    def _open(self, name: str, path: Path, key: str) -> None:
        data = open_hdf5(path, key)
        require_stored(data, path)
        self.present[name], self.keys[name] = data, key

    def _read_annotations(self) -> None:
        path = self.root / ANNOTATIONS
        if not path.is_file():
            self.report.add(
                NOTE,
                [ANNOTATIONS],
                f"{path}: {_absence(path)}, so the events have numbers for names, "
                "and labels cannot be compared with it",
                self._cure_of(ANNOTATIONS, again=path.is_dir()),
            )
            return
        try:
            annotations = read_annotations(path)
            names = class_names(annotations)
            if len(names) != self.config.num_events:
                raise InputError(
                    f"{path}: names {len(names)} events, expected {self.config.num_events} (num_events of the config)"
                )
        except InputError as error:
            self._error([ANNOTATIONS], str(error), f"{self._cure_of(ANNOTATIONS)}, or do without it")
        else:
            self.annotations = annotations
            self.values[ANNOTATIONS] = f"ok, {len(names)} events"

    # ------------------------------------------------------------------------------------------ files under false names

    def _find_exchanged_forms(self) -> None:
        """Files of which each has the form of the other: one with five axes, one with three.

        A file with the key of others that no exchange explains is an error by itself.
        """
        strangers = [name for name in self._sound(FILES) if not self._has_form(name, name)]
        # A file's like is its neighbour, not its neighbour's noisy counterpart.
        for one, other in sorted(combinations(strangers, 2), key=lambda pair: len({name in NOISY for name in pair})):
            if {one, other} & self.wrong or not (self._has_form(one, other) and self._has_form(other, one)):
                continue
            self._exchanged(one, other, "each has the other's form", self._shape(one), self._shape(other))
        for name in self._sound(self.foreign):
            self._error([name], self.foreign[name], self._cure_of(name))

    def _find_exchanged_counterparts(self) -> None:
        """Clean and noisy files that have each other's number of videos."""
        for clean, noisy in _COUNTERPARTS:
            lengths = self._lengths((clean, noisy))
            if len(lengths) < 2:
                continue
            count, other = lengths
            if count != self.num_videos and other == self.num_videos:
                self._exchanged(clean, noisy, "the noisy one has all videos", f"{count} videos", f"{other} videos")

    def _exchanged(self, one: str, other: str, reason: str, of_one: str, of_other: str) -> None:
        paths = [find_file(self.root, name) for name in (one, other)]
        self._error(
            [one, other],
            f"{paths[0]} and {paths[1].name} are exchanged, {reason}: {of_one} and {of_other}",
            f"rename each to the other's name: {paths[0].name} and {paths[1].name}",
        )

    def _has_form(self, holder: str, name: str) -> bool:
        """Whether what the file ``holder`` holds could be what belongs in the file ``name``."""
        shape = self.present[holder].shape
        if self.keys[holder] != FILES[name].key:
            return False
        if name in ORDERS:
            return len(shape) == 1
        if name.startswith("visual"):
            return len(shape) == 5
        if name.startswith("audio"):
            return len(shape) == 3 and shape[2] == self.config.audio_dim
        return len(shape) == (3 if name == "right_labels.h5" else 2) and shape[-1] == self.config.num_events + 1

    # ------------------------------------------------------------------------------------------ what the files hold

    def _numbers_of_videos(self) -> list[int]:
        counts = [len(self.annotations)] if self.annotations else []
        counts += self._lengths(("right_labels.h5", "mil_labels.h5", *FEATURES))
        splits = self._lengths(ORDERS)
        return [*counts, sum(splits)] if len(splits) == len(ORDERS) else counts

    def _lengths(self, names: Sequence[str], axis: int = 0) -> list[int]:
        return [self.present[name].shape[axis] for name in self._sound(names) if self._has_form(name, name)]

    def _check_features(self) -> None:
        for name in self._sound((*FEATURES, *NOISY[:2])):
            path, visual, noisy = find_file(self.root, name), name.startswith("visual"), name in NOISY
            width = self.config.visual_dim if visual else self.config.audio_dim
            expected = (self.num_noisy if noisy else self.num_videos, self.num_segments)
            try:
                found = FeatureFile(path, ndim=5 if visual else 3, width=width).shape
                if found[:2] != expected:
                    raise InputError(
                        f"{path}: {found[0]} videos of {found[1]} segments, "
                        f"expected {expected[0]} of {expected[1]}, as other files have"
                    )
                if visual and noisy and self._sound(FEATURES[:1]):
                    maps, expected_maps = found[2:4], self.present[FEATURES[0]].shape[2:4]
                    if maps != expected_maps:
                        raise InputError(
                            f"{path}: maps of {maps} regions, expected {expected_maps} as {FEATURES[0]} has"
                        )
            except InputError as error:
                self._error([name], str(error), self._cure_of(name))
                continue
            if any(needs(setting, [name]) for setting in self.report.settings):
                self._check_values(name, path)

    def _check_values(self, name: str, path: Path) -> None:
        parts = self.progress
        values = FeatureValues(self.present[name], self.full, lambda slices: parts(path.name, slices))
        read = "all" if self.full else f"{values.rows_read} sampled"
        self.values[name] = f"ok, {values.lowest:.3g} to {values.highest:.3g} in {read} rows"
        where = "" if self.full else f" of {values.rows_read + len(values.unreadable)} sampled ones"
        outside = f"values outside 0 to {LARGEST:g}, expected outputs of a last ReLU"
        for rows, level, (one, many), what in (
            (values.unreadable, ERROR, ("cannot", "cannot"), "be read, the file is damaged"),
            (values.not_finite, ERROR, ("holds", "hold"), "values that are not finite"),
            (values.out_of_range, WARNING, ("holds", "hold"), outside),
            (values.zero, WARNING, ("is", "are"), "zero throughout, as where nothing was written"),
        ):
            if rows:
                number = counted(len(rows), f"row{where} {one}", f"rows{where} {many}")
                sentence = f"{path}: {number} {what}: {listed(rows)}"
                if level == ERROR:
                    self._error([name], sentence, self._cure_of(name))
                else:
                    cure = f"if these should be the published features: {self._cure_of(name)}"
                    self.report.add(level, [name], sentence, cure)
                    self.values[name] = self.values[name].replace("ok", "see below", 1)

    def _check_labels(self) -> None:
        k = self.config.num_events + 1
        shapes = ((self.num_videos, self.num_segments, k), (self.num_videos, k), (self.num_noisy, k))
        for name, shape in zip(LABELS, shapes, strict=True):
            if name not in self._sound([name]):
                continue
            try:
                self.labels[name] = read_labels(find_file(self.root, name), shape)
                self.values[name] = "ok, one-hot"
            except InputError as error:
                self._error([name], str(error), self._cure_of(name))
        segments, videos, noisy = map(self.labels.get, LABELS)
        if noisy is not None and not noisy[:, -1].all():
            rows = np.flatnonzero(noisy[:, -1] == 0).tolist()
            if videos is not None and videos[:, -1].all():
                self._exchanged("mil_labels.h5", "labels_noisy.h5", "the noisy one has events", "background", "events")
            else:
                self._error(
                    ["labels_noisy.h5"],
                    f"{self.root / 'labels_noisy.h5'}: {counted(len(rows), 'row is', 'rows are')} labelled with "
                    f"an event ({listed(rows)}), expected background throughout",
                    self._cure_of("labels_noisy.h5"),
                )
        if segments is not None and videos is not None and not self.annotations:
            shown = segments[..., :-1].any(axis=1)
            rows = np.flatnonzero((shown > videos[:, :-1]).any(axis=1)).tolist()
            if rows:
                self._error(
                    ["mil_labels.h5"],
                    f"{self.root / 'mil_labels.h5'}: names another event than {find_file(self.root, LABELS[0]).name} "
                    f"in {counted(len(rows), 'row', 'rows')}: {listed(rows)}",
                    "make both from the annotations: " + self._make_labels(),
                )

    def _check_orders(self) -> None:
        for split, name in zip(SPLITS, ORDERS, strict=True):
            if name not in self._sound([name]):
                continue
            path = self.root / name
            try:
                order = read_order(path, self.num_videos)
            except InputError as error:
                self._error([name], str(error), self._cure_of(name))
                continue
            rows, counts = np.unique(order, return_counts=True)
            if repeated := rows[counts > 1].tolist():
                self._error(
                    [name],
                    f"{path}: names {counted(len(repeated), 'row', 'rows')} more than once: {listed(repeated)}",
                    self._cure_of(name),
                )
            self.orders[split] = order
            self.values.setdefault(name, f"ok, rows {order.min()} to {order.max()}")
        self._find_exchanged_orders()
        for one, other in combinations(self.orders, 2):
            shared = np.intersect1d(self.orders[one], self.orders[other]).tolist()
            if shared:
                self._error(
                    [f"{one}_order.h5", f"{other}_order.h5"],
                    f"{self.root / f'{one}_order.h5'} and {other}_order.h5 share {counted(len(shared), 'row', 'rows')} "
                    f"({listed(shared)}), expected none",
                    self._cure_of(f"{one}_order.h5"),
                )
        if len(self.orders) == len(SPLITS):
            left = np.setdiff1d(np.arange(self.num_videos), np.concatenate([*self.orders.values()])).tolist()
            if left:
                sets = " ".join(f"--{split}_set FILE" for split in SPLITS)
                self.report.add(
                    NOTE,
                    ORDERS,
                    f"{self.root}: {counted(len(left), 'row belongs', 'rows belong')} to no split: {listed(left)}",
                    f"if they should be used, make orders from lists that have them: {self._make_labels()} {sets}",
                )

    def _find_exchanged_orders(self) -> None:
        """Order files of which one holds another's split, by AVE's own splits or by their sizes."""
        published = {digest: split for split, digest in PUBLISHED_ORDERS.items()}
        held = {split: published.get(_digest(order)) for split, order in self.orders.items()}
        if self.num_videos == _AVE[0] and (others := [split for split, found in held.items() if found is None]):
            self.report.add(
                NOTE,
                [f"{split}_order.h5" for split in others],
                f"{self.root}: the rows of {' and '.join(others)} are not those of AVE's own splits: "
                "accuracies do not compare with published ones",
                f"if they should be, for each of these order files: {self._cure_of(ORDERS[0])}",
            )
        for split, found in held.items():
            if found in (None, split):
                continue
            if held.get(found) == split:
                if split < found:
                    self._exchanged(
                        f"{split}_order.h5", f"{found}_order.h5", "they are AVE's", f"{found} rows", f"{split} rows"
                    )
                continue
            self._error(
                [f"{split}_order.h5"],
                f"{self.root / f'{split}_order.h5'}: holds the {found} rows of AVE, expected its {split} rows",
                f"rename it to {found}_order.h5, and " + self._cure_of(f"{split}_order.h5", again=False),
            )
        sizes = {split: len(order) for split, order in self.orders.items()}
        if any(held.values()) or "train" not in sizes:
            return
        largest = max(sizes, key=sizes.get)
        if sizes[largest] > sizes["train"]:
            self._exchanged(
                "train_order.h5",
                f"{largest}_order.h5",
                "training has fewer rows",
                f"{sizes['train']} rows",
                f"{sizes[largest]} rows",
            )

    def _compare_with_annotations(self) -> None:
        if not self.annotations:
            return
        path = self.root / ANNOTATIONS
        if len(self.annotations) != self.num_videos:
            self._error(
                [ANNOTATIONS],
                f"{path}: has {counted(len(self.annotations), 'video', 'videos')}, expected {self.num_videos}, "
                "as other files have: it is of another release",
                f"{self._cure_of(ANNOTATIONS)}, or do without it",
            )
            return
        try:
            read_annotations(path, self.num_segments if self.num_segments == 10 else None)
        except InputError as error:
            self._error([ANNOTATIONS], str(error), f"{self._cure_of(ANNOTATIONS)}, or do without it")
            return
        for name in self._sound(LABELS[:2]):
            if said := disagreement(self.annotations, self.labels[name]):
                self._error(
                    [name],
                    f"{find_file(self.root, name)}: {said}. One of {ANNOTATIONS} and the labels is of another release",
                    f"make the labels from the annotations: {self._make_labels()}; "
                    f"or, if the labels are right, take {ANNOTATIONS} out of the folder",
                )
            else:
                self.values[name] += ", as annotated"
        ids = {
            split: {self.annotations[row].video_id for row in order.tolist()} for split, order in self.orders.items()
        }
        for one, other in combinations(ids, 2):
            if shared := sorted(ids[one] & ids[other]):
                self.report.add(
                    NOTE,
                    [f"{one}_order.h5", f"{other}_order.h5"],
                    f"{path}: {counted(len(shared), 'video id stands', 'video ids stand')} in both "
                    f"{one} and {other}: {listed(shared)}",
                )

    # ------------------------------------------------------------------------------------------ the report

    def _list_files(self) -> None:
        for name in FILES:
            path = find_file(self.root, name)
            if not path.is_file():
                self.report.lines.append(FileLine(name, values="a folder" if path.is_dir() else "missing"))
                continue
            line = FileLine(path.name, size=_readable_size(path), values=self._verdict(name))
            if data := self.present.get(name):
                line = line._replace(key=self.keys[name], shape=str(data.shape), type=str(data.dtype))
            self.report.lines.append(line)
        path = self.root / ANNOTATIONS
        if path.is_file():
            shape = f"{len(self.annotations)} lines" if self.annotations else ""
            line = FileLine(ANNOTATIONS, "", shape, "text", _readable_size(path), self._verdict(ANNOTATIONS))
        else:
            line = FileLine(ANNOTATIONS, values="a folder" if path.is_dir() else "missing")
        self.report.lines.append(line)

    def _verdict(self, name: str) -> str:
        return "WRONG" if name in self.wrong else self.values.get(name, "not read")

    def _error(self, files: Sequence[str], sentence: str, cure: str) -> None:
        self.wrong.update(files)
        self.report.add(ERROR, files, sentence, cure)

    def _sound(self, names: Sequence[str]) -> list[str]:
        """Those of the files that are there and have shown no error so far."""
        return [name for name in names if name in self.present and name not in self.wrong]

    @staticmethod
    def _most(counts: Sequence[int], otherwise: int) -> int:
        """What most say, the first one's word where two are said as often; ``otherwise`` where nothing is said."""
        return Counter(counts).most_common(1)[0][0] if counts else otherwise

    def _shape(self, name: str) -> str:
        return f"shape {self.present[name].shape}"

    def _cure_of(self, name: str, again: bool = True) -> str:
        if name == "right_labels.h5":
            # A file is replaced, a folder is not.
            delete = "delete it and " if find_file(self.root, name).is_dir() else ""
            return f"{delete}make it from the annotations: {self._make_labels()}"
        source = FILES[name].source if name in FILES else FILES["mil_labels.h5"].source
        delete = "delete it and " if again else ""
        return f"{delete}run python -m tools.download --data_root {self.root}, or copy it from {source}"

    def _make_labels(self) -> str:
        command = f"python -m tools.make_labels --annotations {self.root / ANNOTATIONS} --out {self.root}"
        return command + (" --overwrite" if any((self.root / name).exists() for name in LABELS) else "")


def _digest(order: np.ndarray) -> str:
    return sha256(order.astype("<i8").tobytes()).hexdigest()


def _absence(path: Path) -> str:
    return "is a folder, expected a file" if path.is_dir() else "is missing"


def _readable_size(path: Path) -> str:
    size = path.stat().st_size
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"
