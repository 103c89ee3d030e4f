"""Get everything that both settings need into a data folder, and the authors' checkpoint, then check the folder.

The features (8.7 GB) and the checkpoint come from Google Drive, the small files from the repository of AVE-ECCV18;
right_labels.h5 is made from Annotations.txt. A transfer that breaks off goes on where it stopped, in this run or in the
next one. A file that is there already is kept if it is whole. SHA256SUMS in each folder has the SHA-256 of every file;
a file that no longer agrees with it is reported.

The tests try all of this against a server on the same machine. What they cannot try without a network: that the
addresses are still right, Google Drive's confirmation pages, and its limit on how often a file is downloaded in a day.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from configs import CONFIGS
from dataset.annotations import read_annotations, segment_labels
from dataset.hdf5 import open_hdf5, require_stored
from dataset.layout import (
    ANNOTATIONS,
    DOWNLOADS,
    FILES,
    PUBLISHED_CHECKPOINT,
    PUBLISHED_CHECKPOINT_URL,
    segment_label_file,
)
from dataset.synthetic import NUM_SEGMENTS
from model.checkpoint import load_checkpoint
from tools.arguments import data_root_option, tool_parser
from tools.check_data import check
from tools.download.fetch import Patience, UnreachableError, fetch, sha256_of
from tools.make_labels import write_files
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal

log = logging.getLogger(__name__)
CHECKSUMS = "SHA256SUMS"  # as sha256sum writes and reads it


class Download(NamedTuple):
    """A file to get: from where, to where, and what tells whether it is the right kind of file and whole."""

    url: str
    path: Path
    check: Callable[[Path], object]  # raises InputError


def downloads(data_root: Path, runs: Path) -> list[Download]:
    """All files of AVE and the authors' checkpoint, the largest last."""
    found = [Download(url, data_root / name, content_check(name)) for name, url in DOWNLOADS.items()]
    found.append(
        Download(
            PUBLISHED_CHECKPOINT_URL, runs / PUBLISHED_CHECKPOINT, lambda path: load_checkpoint(path, "supervised")
        )
    )
    return sorted(found, key=lambda download: ("drive.google" in download.url, download.path.name.startswith("visual")))


def content_check(name: str) -> Callable[[Path], object]:
    """What raises ``InputError`` for a file that cannot be the file ``name`` of the layout, or is not all of it."""
    if name == ANNOTATIONS:
        return read_annotations
    key = FILES[name].key
    return lambda path: require_stored(open_hdf5(path, key), path)


def get(download: Download, patience: Patience) -> None:
    """Have a file in its place: the one that is there, if it is whole and as recorded, else the one that is fetched.

    Raises:
        InputError: it cannot be had, or the file there is whole but not as recorded.
    """
    path = download.path
    with os_error_as_input_error(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    recorded = read_checksums(path.parent)
    if path.exists():
        try:
            download.check(path)
        except InputError as error:
            log.info("%s; it is fetched again", error)
        else:
            digest = sha256_of(path)
            if recorded.get(path.name, digest) != digest:
                raise InputError(
                    f"{path}: has changed since its SHA-256 was recorded: delete it to fetch it again; "
                    f"if it is right, delete its line in {path.parent / CHECKSUMS}"
                )
            log.info("%s: is there, SHA-256 %s", path, "as recorded" if path.name in recorded else "recorded")
            record_checksum(path, digest)
            return
    log.info("%s: from %s", path, download.url)
    record_checksum(path, fetch(download.url, path, download.check, patience))


def read_checksums(folder: Path) -> dict[str, str]:
    """The recorded SHA-256 of files of a folder, by name.

    Raises:
        InputError: the record cannot be read.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
        return {name.removeprefix("*"): digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, expected lines of a SHA-256 and a name; delete it") from error


def record_checksum(path: Path, digest: str) -> None:
    """Record the SHA-256 of a file in its folder."""
    checksums = {**read_checksums(path.parent), path.name: digest}
    record = path.parent / CHECKSUMS
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(checksums.items()))
    with os_error_as_input_error(record), atomic_write(record) as temporary:
        temporary.write_text(text, encoding="utf-8")


def get_all(wanted: Sequence[Download], patience: Patience) -> None:
    """Get all files that can be had.

    Raises:
        InputError: a sentence for each one that cannot.
    """
    failures, silent = [], set()
    for download in wanted:
        host = urlsplit(download.url).netloc
        if host in silent and not download.path.exists():
            failures.append(f"{download.path}: was not tried, because {host} does not answer")
            continue
        try:
            get(download, patience)
        except InputError as error:
            log.info("failed: %s", error)
            failures.append(str(error))
            if isinstance(error, UnreachableError):
                silent.add(host)
    if failures:
        raise InputError(
            "\n".join(
                [
                    f"{len(failures)} of {len(wanted)} files are not there yet:",
                    *failures,
                    "Run the same command again, or put them there by hand: it then checks them.",
                ]
            )
        )


def prepare(data_root: Path, wanted: Sequence[Download], patience: Patience = Patience()) -> int:  # noqa: B008
    """Get all files, make the labels per segment, and check the folder; gives the status to exit with.

    Raises:
        InputError: files cannot be had.
    """
    get_all(wanted, patience)
    if not segment_label_file(data_root).exists():
        labels = segment_labels(read_annotations(data_root / ANNOTATIONS, NUM_SEGMENTS), NUM_SEGMENTS)
        write_files(data_root, {"right_labels.h5": labels})
        log.info("%s: made from the annotations", data_root / "right_labels.h5")
    return check(data_root, CONFIGS["supervised"], full=False)


def main() -> None:
    parser = tool_parser("download", __doc__, data_root_option("directory of the data"))
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path("./Exps"),
        metavar="DIR",
        help=f"folder of runs, for {PUBLISHED_CHECKPOINT} (default: ./Exps)",
    )
    args = parser.parse_args()
    log_to_terminal()
    sys.exit(prepare(args.data_root, downloads(args.data_root, args.runs)))


if __name__ == "__main__":
    run_command(main)
