"""The command line of the entry scripts."""

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from configs.config import CONFIGS, SCOPES, TrainingConfig
from configs.variants import variants_of

DATA_ROOT = Path("data")  # of every command that is given no other
AUTO = Path("auto")  # --resume auto
SPLITS = ("train", "val", "test")
FEEDS = ("auto", "device", "ram", "stream")  # places of the features during a run
GPU_HELP = "number of the GPU, or cpu (default: 0; the CPU if there is no GPU)"  # of --gpu, in every command


@dataclass(frozen=True)
class Options:
    """What a command was asked to do, and with what."""

    config: Path | None  # named on the command line
    default_config: Path  # of the setting
    overrides: dict[str, object]  # hyperparameters given as flags
    gpu: str
    data_root: Path | None  # named on the command line
    snapshot_pref: Path | None  # named on the command line
    default_snapshot_pref: Path  # of the setting
    resume: Path | None  # a checkpoint; Path("auto") is last.pth.tar of the run's folder, if it is there
    evaluate: bool
    split: str
    predictions: Path | None  # where --evaluate writes what it says of every segment
    save_seconds: float
    overwrite: bool
    features: str
    cuda_graph: bool


def parse_options(
    description: str, setting: str, snapshot_pref: str, arguments: Sequence[str] | None = None
) -> Options:
    """Parse the command line of an entry script.

    Args:
        setting: whose default config, and variants in ``--help``.
        snapshot_pref: the folder of a run that is given no other.
        arguments: the command line; None takes that of the process.
    """
    default_config = CONFIGS[setting]
    parser = argparse.ArgumentParser(
        description=description,
        epilog=_variants_help(setting),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_run(parser, f"configs/{default_config.name}", snapshot_pref)
    _add_hyperparameters(parser)
    given = vars(parser.parse_args(arguments))
    if given["evaluate"] and given["resume"] in (None, AUTO):
        parser.error("--evaluate needs the checkpoint to score: --resume FILE")
    if given["predictions"] and not given["evaluate"]:
        parser.error("--predictions is written by --evaluate: give both, or neither")
    if given["calibrate"] and given["evaluate"]:
        parser.error("--calibrate belongs to training: --evaluate uses the threshold in the checkpoint")
    if not given["save_seconds"] >= 0:  # nor nan
        parser.error(f"--save_seconds is {given['save_seconds']}, expected 0 or more")
    own = {name: given.pop(name) for name in Options.__dataclass_fields__ if name in given}
    overrides = {name: value for name, value in given.items() if value is not None}
    return Options(default_config=default_config, default_snapshot_pref=Path(snapshot_pref), overrides=overrides, **own)


def _add_run(parser: argparse.ArgumentParser, default_config: str, snapshot_pref: str) -> None:
    """Add the flags of what is run, on what data and device, and where it is kept."""
    add = parser.add_argument
    add("--config", type=Path, metavar="FILE", help=f"network and hyperparameters (default: {default_config})")
    data = f"features in the AVE layout (default: those of the run that is evaluated or resumed; else {DATA_ROOT})"
    add("--data_root", type=Path, metavar="DIR", help=data)
    add("--gpu", default="0", metavar="N", help=GPU_HELP)
    folder = f"folder for checkpoints, log, metrics and TensorBoard events (default: {snapshot_pref})"
    add("--snapshot_pref", type=Path, metavar="DIR", help=folder)
    resume = (
        "checkpoint, ours or the authors'. last.pth.tar is continued in its folder; another one starts a new run from "
        "its weights; with --evaluate it is scored. auto continues the run in the folder if there is one, or starts it"
    )
    add("--resume", type=Path, metavar="FILE", help=resume)
    add("--evaluate", action="store_true", help="score the checkpoint of --resume and stop")
    add("--split", choices=SPLITS, default="test", help="what --evaluate scores (default: test)")
    predictions = "with --evaluate, write truth, prediction and probabilities of every segment as CSV"
    add("--predictions", type=Path, metavar="FILE", help=predictions)
    seconds = "write last.pth.tar when so many seconds have passed, and at the end (default: 30)"
    add("--save_seconds", type=float, default=30, metavar="S", help=seconds)
    features = (
        "where the features lie: on the GPU, in memory, or streamed from the files (default: auto, the first of these "
        "that has room)"
    )
    add("--features", choices=FEEDS, default="auto", help=features)
    graph = (
        "on CUDA in one process, replay steps and evaluations as CUDA graphs, which saves launching their kernels one "
        "by one (default)"
    )
    add("--cuda_graph", "--compile", action=argparse.BooleanOptionalAction, default=True, help=graph)
    add("--overwrite", action="store_true", help="replace the run that the folder holds")


def _add_hyperparameters(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each training value, and two of MAGAN's."""
    add = parser.add_argument_group("hyperparameters, instead of the config's").add_argument
    for each in fields(TrainingConfig):
        names = ["-b", "--b", "--batch_size"] if each.name == "batch_size" else [f"--{each.name}"]
        help, choices = each.metadata["help"], each.metadata["choices"]
        if each.name == "lr_milestones":
            add(*names, type=int, nargs="*", metavar="N", help=help)
        elif choices:
            add(*names, choices=choices, help=help)
        else:
            kind = int if each.type is int else float
            add(*names, dest=each.name, type=kind, metavar="N" if kind is int else "X", help=help)
    add("--scope", choices=SCOPES, help="of MAGAN: what self-attention refinement attends over; batch is as published")
    add("--variant", nargs="+", metavar="NAME", help="of MAGAN: parts left out or mended, by name; see below")


def _variants_help(setting: str) -> str:
    """The variants of a setting, for the end of ``--help``."""
    lines = ["variants of the network (--variant), several at once unless they change the same thing:"]
    for name, variant in variants_of(setting).items():
        indent = " " * 26
        text = textwrap.wrap(f"{variant.part}: {variant.sentence}", 90, initial_indent=indent, subsequent_indent=indent)
        lines += [f"  {name:24}" + text[0].lstrip(), *text[1:]]
    return "\n".join(lines)
