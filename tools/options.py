"""Command-line options that several tools share."""

import argparse
from pathlib import Path

from configs import SPLITS
from engine.run_folder import BEST
from utils.errors import InputError


def evaluation_options() -> argparse.ArgumentParser:
    """Parent parser of the tools that evaluate a checkpoint on a split."""
    parser = argparse.ArgumentParser(add_help=False)
    add = parser.add_argument
    add("source", type=Path, metavar="RUN_OR_CHECKPOINT", help="a run folder or a checkpoint, ours or the authors'")
    add(
        "--data_root",
        type=Path,
        default=Path("./data"),
        metavar="DIR",
        help="features in the AVE layout (default: ./data)",
    )
    add("--gpu", default="0", metavar="N", help="CUDA device, or cpu (default: 0; without CUDA, the CPU)")
    add("--split", choices=SPLITS, default="test", help="split to evaluate (default: test)")
    return parser


def checkpoint_of(source: Path) -> Path:
    """The checkpoint that ``source`` names: itself, or ``best.pth.tar`` of a run folder.

    Raises:
        InputError: the folder has no such file.
    """
    if not source.is_dir():
        return source
    if not (source / BEST).exists():
        raise InputError(f"{source} holds no {BEST}: name a run folder that has one, or a checkpoint")
    return source / BEST
