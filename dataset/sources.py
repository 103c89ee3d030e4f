"""How to get the files of a data folder: AVE's are downloaded, those of another data set are its owner's."""

from collections.abc import Iterable
from pathlib import Path

from configs import SPLITS
from dataset.layout import ANNOTATIONS, NOISY, ORDERS, find_file
from dataset.published import SOURCES, is_ave
from utils.errors import InputError
from utils.wording import command_line


def require_files(root: Path, names: Iterable[str]) -> None:
    """Check that all files are there.

    Raises:
        InputError: ``root`` is a file; or lists the missing ones and how to get them.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: not a directory, expected one with the files of the AVE layout")
    missing = [name for name in names if not find_file(root, name).is_file()]
    if not missing:
        return
    ave, width = is_ave(root), max(map(len, missing))
    sources = {name: SOURCES[name] if ave else own_source(root, name) for name in missing}
    absent = "" if root.exists() else ", which does not exist"
    listing = "\n".join(f"  {name:{width}}  {source}" for name, source in sources.items())
    advice = (
        "Put them there, as python -m tools.download does, or name another folder with --data_root.\n"
        "To try the program without them, make synthetic data:\n"
        "  python -m tools.make_data --out data/synthetic --videos 280\n"
        "and run it with --data_root data/synthetic."
    )
    raise InputError(
        f"{len(missing)} data file{'s are' if len(missing) > 1 else ' is'} missing in {root}{absent}:\n{listing}"
        + (f"\n{advice}" if ave else "")
    )


def cure_of(root: Path, name: str) -> str:
    """How to replace a missing or bad file, or to do without it."""
    if "labels" in name or not is_ave(root):
        return own_source(root, name)
    without = ", or do without it" if name == ANNOTATIONS else ""
    return f"run {command_line('download', '--data_root', root)}, or copy it from {SOURCES[name]}{without}"


def own_source(root: Path, name: str) -> str:
    """How the owner of a data set makes a file of it."""
    if name == ANNOTATIONS:
        return "write a line 'event&video id&quality&start&end' for each video in the order of the rows, or do without"
    if name in ORDERS:
        split = SPLITS[ORDERS.index(name)]
        return f"list the annotation lines of the split in a file: {make_labels_command(root, name)} --{split}_set FILE"
    if name == "labels_noisy.h5":
        return f"make it for the noisy features: {make_labels_command(root, name)}"
    if name in NOISY:
        return "write it with videos without an event, or move the noisy files elsewhere: training works without them"
    if "labels" in name:
        return f"make it from the annotations: {make_labels_command(root, name)}"
    return "write it with one row per video; python -m tools.extract_features makes features from videos"


def make_labels_command(root: Path, *replaced: str) -> str:
    """The command that makes label files, in place of ``replaced`` ones."""
    overwrite = ["--overwrite"] if any((root / name).exists() for name in replaced) else []
    return command_line("make_labels", "--annotations", root / ANNOTATIONS, "--out", root, *overwrite)
