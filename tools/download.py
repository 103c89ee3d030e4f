"""Download the data of both settings and the authors' checkpoint, then check the data folder.

The features (8.7 GB) and the checkpoint come from Google Drive, the small files from the repository of AVE-ECCV18;
right_labels.h5 is made from Annotations.txt. An interrupted transfer of a large file resumes where it stopped, in this
run or in the next one. A file that exists already is kept if it is whole. SHA256SUMS in each folder records the SHA-256
of every file; a file that no longer agrees with it is reported. --videos gets AVE's videos instead, to make features
from.

The tests try all of this against a server on the same machine. They cannot try without a network: whether the addresses
are still right, Google Drive's confirmation pages, and its limit on the downloads of a file in a day.
"""

import argparse
import hashlib
import logging
import shutil
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dataset.annotations import read_annotations, segment_labels
from dataset.hdf5 import stored_in
from dataset.layout import ANNOTATIONS, FILES, segment_label_file
from dataset.published import (
    DOWNLOADS,
    PUBLISHED_CHECKPOINT,
    PUBLISHED_CHECKPOINT_URL,
    VIDEOS_ARCHIVE,
    VIDEOS_SIZE,
    VIDEOS_URL,
)
from dataset.sources import require_files
from dataset.synthetic import NUM_SEGMENTS
from model.checkpoint import load_checkpoint
from tools.arguments import data_root_option, tool_parser
from tools.check_data import check
from tools.make_labels import write_files
from utils.atomic import SUFFIX, atomic_write, require_room
from utils.command import run_command
from utils.download import download
from utils.errors import AccessError, InputError, os_error_as_input_error, reason_of
from utils.log import log_to_terminal
from utils.packages import require_packages
from utils.progress import Progress

log = logging.getLogger(__name__)
CHECKSUMS = "SHA256SUMS"  # in the format of sha256sum


class Download(NamedTuple):
    """A file to download."""

    url: str
    path: Path
    check: Callable[[Path], object]  # raises InputError if a file is not the expected one, or incomplete


def downloads(data_root: Path, runs: Path) -> list[Download]:
    """All files of AVE and the authors' checkpoint, the largest last."""
    found = [Download(url, data_root / name, content_check(name)) for name, url in DOWNLOADS.items()]
    return sorted([*found, checkpoint_download(runs)], key=lambda each: each.path.name.startswith("visual"))


def checkpoint_download(runs: Path) -> Download:
    """The authors' supervised checkpoint."""
    path = runs / PUBLISHED_CHECKPOINT
    return Download(PUBLISHED_CHECKPOINT_URL, path, lambda path: load_checkpoint(path, "supervised"))


def content_check(name: str) -> Callable[[Path], object]:
    """A check that raises ``InputError`` for a path that is not the file ``name`` of the layout, or not all of it."""
    if name == ANNOTATIONS:
        return read_annotations
    key = FILES[name].key
    return lambda path: stored_in(path, key)


def get(wanted: Download) -> None:
    """Keep the existing file if it is whole and as recorded; download it otherwise.

    Raises:
        InputError: the file is not available, or the existing one is whole but not as recorded.
    """
    path = wanted.path
    recorded = read_checksums(path.parent)
    if path.exists():
        try:
            wanted.check(path)
        except AccessError:  # the file may be good
            raise
        except InputError as error:
            log.info("%s; downloading it again", error)
        else:
            digest = sha256_of(path)
            if recorded.get(path.name, digest) != digest:
                raise InputError(
                    f"{path}: has changed since its SHA-256 was recorded: move it away to download it again, or, if it "
                    f"is right, remove its line from {path.parent / CHECKSUMS}"
                )
            log.info("%s: exists, SHA-256 %s", path, "as recorded" if path.name in recorded else "recorded")
            record_checksum(path, digest)
            return
    log.info("%s: from %s", path, wanted.url)
    download(wanted.url, path, wanted.check)
    record_checksum(path, sha256_of(path))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_checksums(folder: Path) -> dict[str, str]:
    """The recorded SHA-256 of files of a folder, by name."""
    path = folder / CHECKSUMS
    if not path.exists():
        return {}
    try:
        lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines()]
        return {name.removeprefix("*"): digest for digest, name in lines}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, expected lines of a SHA-256 and a name: move it away") from error


def record_checksum(path: Path, digest: str) -> None:
    """Record the SHA-256 of a file in its folder."""
    checksums = {**read_checksums(path.parent), path.name: digest}
    record = path.parent / CHECKSUMS
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(checksums.items()))
    with os_error_as_input_error(record), atomic_write(record) as temporary:
        temporary.write_text(text, encoding="utf-8")


def get_all(wanted: Sequence[Download]) -> None:
    """Get all files that are available; an ``InputError`` has a sentence for each one that is not."""
    failures = []
    for each in wanted:
        try:
            get(each)
        except InputError as error:
            log.info("failed: %s", error)
            failures.append(str(error))
        except (KeyboardInterrupt, SystemExit):
            log.info("stopped: the same command resumes")
            raise
    if failures:
        title = f"{len(failures)} of {len(wanted)} files are still missing:"
        remedy = "Run the same command again, or put them there by hand: it then checks them."
        raise InputError("\n".join([title, *failures, remedy]))


def get_videos(folder: Path) -> None:
    """Get the archive of AVE's videos, beside ``folder``, and unpack it there, unless the folder exists."""
    if folder.exists():
        log.info("%s: exists; move it away to unpack the videos again", folder)
        return
    archive = folder.with_name(VIDEOS_ARCHIVE)
    log.info("%s: %.1f GB, and as much again when unpacked", archive, VIDEOS_SIZE / 1e9)
    require_room(folder, (1 if archive.exists() else 2) * VIDEOS_SIZE)
    get_all([Download(VIDEOS_URL, archive, partial(unpack, folder=folder))])
    log.info("%s: unpacked; %s is not needed any more", folder, archive)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive into a new folder, which appears with all of its files or not at all.

    Raises:
        InputError: it is not an archive, or not all of one.
    """
    unfinished = folder.with_name(folder.name + SUFFIX)
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            names = packed.namelist()
            for name in Progress("unpacking", print_freq=500).track(names, total=len(names)):
                packed.extract(name, unfinished)
        unfinished.rename(folder)
    except OSError as error:
        raise AccessError(f"{folder}: cannot be written: {reason_of(error) or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{archive}: is incomplete, damaged or not an archive: {error}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def prepare(data_root: Path, wanted: Sequence[Download]) -> int:
    """Get all files, make the labels per segment, and check the folder; gives the exit status."""
    get_all(wanted)
    if not segment_label_file(data_root).exists():
        labels = segment_labels(read_annotations(data_root / ANNOTATIONS, NUM_SEGMENTS), NUM_SEGMENTS)
        write_files(data_root, {"right_labels.h5": labels})
        log.info("%s: made from the annotations", data_root / "right_labels.h5")
    return check(data_root, full=False)


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("download", __doc__, data_root_option("directory of the data"))
    runs = f"directory of runs, for {PUBLISHED_CHECKPOINT} (default: ./Exps)"
    parser.add_argument("--runs", type=Path, default=Path("./Exps"), metavar="DIR", help=runs)
    alone = parser.add_mutually_exclusive_group()
    alone.add_argument("--checkpoint", action="store_true", help="download the authors' checkpoint alone")
    alone.add_argument(
        "--videos", type=Path, metavar="DIR", help="download AVE's videos alone, into the new folder DIR"
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    require_packages("gdown")
    require_files(args.data_root, [])  # refuses a file in place of the directory
    if args.videos:
        get_videos(args.videos)
    elif args.checkpoint:
        get_all([checkpoint_download(args.runs)])
    else:
        sys.exit(prepare(args.data_root, downloads(args.data_root, args.runs)))


if __name__ == "__main__":
    run_command(main)
