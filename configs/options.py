"""The command line of the entry scripts."""

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.config import CALIBRATIONS, CONFIGS, ROOT, SELECTIONS
from configs.network import PRECISIONS, SCOPES
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


def _path(text: str) -> Path:
    """The path that a flag names.

    Raises:
        argparse.ArgumentTypeError: there is none, which Path takes for the current folder, or it cannot be written down
            as text, as logs, configs and checkpoints have to.
    """
    if not text:
        raise argparse.ArgumentTypeError("is empty, expected a path")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no valid UTF-8, expected a path that is") from error
    return Path(text)


def parse_options(
    description: str, default_config: str, snapshot_pref: str, arguments: Sequence[str] | None = None
) -> Options:
    """Parse the command line of an entry script.

    Args:
        default_config: the setting's config file, relative to the repository.
        snapshot_pref: the folder of a run that is given no other.
        arguments: the command line; None takes that of the process.
    """
    setting = next(setting for setting, path in CONFIGS.items() if path == ROOT / default_config)
    parser = argparse.ArgumentParser(
        description=description,
        epilog=_variants_help(setting),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument

    add("--config", type=_path, metavar="FILE", help=f"hyperparameters (default: {default_config})")
    add(
        "--data_root",
        type=_path,
        metavar="DIR",
        help=f"features in the AVE layout (default: those of the run that is evaluated or resumed; else {DATA_ROOT})",
    )
    add("--gpu", default="0", metavar="N", help=GPU_HELP)
    add(
        "--snapshot_pref",
        type=_path,
        metavar="DIR",
        help=f"folder for checkpoints, log, metrics and TensorBoard events (default: {snapshot_pref})",
    )
    add(
        "--resume",
        type=_path,
        metavar="FILE",
        help="checkpoint, ours or the authors'. last.pth.tar is continued in its folder; another one starts a new run "
        "from its weights; with --evaluate it is scored. auto continues the run in the folder if there is one, else "
        "starts it",
    )
    add("--evaluate", action="store_true", help="score the checkpoint of --resume and stop")
    add("--split", choices=SPLITS, default="test", help="what --evaluate scores (default: test)")
    add(
        "--predictions",
        type=_path,
        metavar="FILE",
        help="with --evaluate, write truth, prediction and probabilities of every segment as CSV",
    )

    add(
        "--save_seconds",
        type=float,
        default=30,
        metavar="S",
        help="write last.pth.tar when so many seconds have passed, and at the end (default: 30)",
    )
    add(
        "--features",
        choices=FEEDS,
        default="auto",
        help="where the features lie: on the GPU, in memory, or streamed from the files (default: auto, the first of "
        "these that has room)",
    )
    add(
        "--cuda_graph",
        "--compile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on CUDA in one process, replay steps and evaluations as CUDA graphs, which saves launching their kernels "
        "one by one (default)",
    )
    add("--overwrite", action="store_true", help="replace the run that the folder holds")

    override = parser.add_argument_group("hyperparameters, instead of the config's").add_argument
    override("-b", "--b", "--batch_size", dest="batch_size", type=int, metavar="N", help="videos in a training batch")
    override("--test_batch_size", type=int, metavar="N", help="videos in an evaluation batch")
    override("--n_epoch", type=int, metavar="N", help="epochs")
    override("--lr", type=float, metavar="X", help="learning rate")
    override("--warmup_steps", type=int, metavar="N", help="first steps over which the learning rate rises linearly")
    override("--clip_gradient", type=float, metavar="X", help="largest gradient norm")
    override("--seed", type=int, metavar="N", help="seed of all random numbers")
    override("--scope", choices=SCOPES, help="what self-attention refinement attends over; batch is as published")
    override("--variant", nargs="+", metavar="NAME", help="parts left out or mended, by name; see below")
    override("--precision", choices=PRECISIONS, help="arithmetic; fp64 is as published")
    override(
        "--select",
        choices=SELECTIONS,
        help="keep the epoch with the best accuracy on test, as published, or on val; names: weakly, the one that "
        "names most events of val right, for which video labels suffice",
    )
    override(
        "--calibrate",
        choices=CALIBRATIONS,
        help="choose the event threshold in training, and keep it in best.pth.tar: on val with its labels per segment, "
        "or weakly from the training videos and their labels",
    )
    override("--eval_freq", type=int, metavar="N", help="epochs between evaluations; the last one is always evaluated")
    override("--num_workers", type=int, metavar="N", help="processes that read features; 0 reads in the main process")
    override("--print_freq", type=int, metavar="N", help="iterations between progress lines")

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
    return Options(
        default_config=ROOT / default_config, default_snapshot_pref=Path(snapshot_pref), overrides=overrides, **own
    )


def _variants_help(setting: str) -> str:
    """The variants of a setting, for the end of ``--help``."""
    lines = ["variants of the network (--variant), several at once unless they change the same thing:"]
    for name, variant in variants_of(setting).items():
        indent = " " * 26
        text = textwrap.wrap(f"{variant.part}: {variant.sentence}", 90, initial_indent=indent, subsequent_indent=indent)
        lines += [f"  {name:24}" + text[0].lstrip(), *text[1:]]
    return "\n".join(lines)
