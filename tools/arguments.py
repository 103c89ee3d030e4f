"""Command-line options that several tools share, as parents of their parsers, and what is derived from them."""

import argparse
from pathlib import Path

from configs import SPLITS
from configs.options import DATA_ROOT, GPU_HELP
from dataset.extraction.record import PREPROCESSING
from engine.run_folder import BEST
from utils.errors import InputError


def tool_parser(name: str, doc: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """A parser for ``python -m tools.NAME`` with a docstring for ``--help`` and the options of the functions below."""
    return argparse.ArgumentParser(
        prog=f"python -m tools.{name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        parents=parents,
    )


def data_root_option(help: str = "features in the AVE layout") -> argparse.ArgumentParser:
    """``--data_root DIR``, by default ``data``."""
    return _option("--data_root", type=Path, default=DATA_ROOT, metavar="DIR", help=f"{help} (default: {DATA_ROOT})")


def gpu_option() -> argparse.ArgumentParser:
    """``--gpu N``, for ``engine.device.choice.choose_device``."""
    return _option("--gpu", default="0", metavar="N", help=GPU_HELP)


def evaluation_options(split: bool = True) -> argparse.ArgumentParser:
    """What to evaluate, ``checkpoint_of`` the parsed ``source``, and on which data, split and device."""
    parser = argparse.ArgumentParser(add_help=False, parents=[gpu_option()])
    add = parser.add_argument
    if split:
        add("--split", choices=SPLITS, default="test", help="split to score (default: test)")
    add("source", type=Path, metavar="RUN_OR_CHECKPOINT", help="run folder or checkpoint, ours or published")
    help = f"features in the AVE layout (default: those of the run; {DATA_ROOT} if it has none)"
    add("--data_root", type=Path, metavar="DIR", help=help)
    return parser


def checkpoint_of(source: Path) -> Path:
    """The checkpoint that a ``RUN_OR_CHECKPOINT`` stands for: the file itself, or the best epoch of a run folder."""
    if not source.is_dir():
        return source
    if not (source / BEST).exists():
        raise InputError(f"{source} holds no {BEST}: name a run's folder that has one, or a checkpoint")
    return source / BEST


def extractor_options() -> argparse.ArgumentParser:
    """How features are made from a video, and where."""
    parser = argparse.ArgumentParser(add_help=False, parents=[gpu_option()])
    add, or_own = parser.add_argument, "; predict: as for the training features)"
    add("--visual", metavar="NAME", help=f"network of the pictures: one of transformers (default: vgg19{or_own}")
    add("--audio", metavar="NAME", help=f"network of the sound: one of transformers (default: vggish{or_own}")
    add("--weights", type=folder, metavar="DIR", help="folder with the weights of vgg19 and vggish (default: download)")
    caffe = "of the pictures for vgg19; caffe is that of the published AVE features"
    add("--preprocessing", choices=PREPROCESSING, help=f"{caffe} (default: {PREPROCESSING[0]}{or_own}")
    bf16 = "of the networks; tf32 is for GPUs, bf16 for GPUs and CPUs with AMX (default: fp32)"
    add("--precision", choices=("fp32", "tf32", "bf16"), default="fp32", help=bf16)
    frames = "pictures over which a second is averaged; fewer are faster"
    add("--frames_per_second", type=positive, metavar="N", help=f"{frames} (default: 16{or_own}")
    add("--map_size", type=positive, metavar="N", help=f"height and width of the maps (default: 7{or_own}")
    add("--batch_size", type=positive, default=32, metavar="N", help="pictures at once in a network (default: 32)")
    return parser


def cluster_options(jobs: str) -> argparse.ArgumentParser:
    """For ``tools.jobs.submit``; ``jobs`` says what ``--jobs`` is the number of."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--jobs", type=positive, metavar="N", help=jobs)
    add = parser.add_argument_group("on a cluster; the command ends when the jobs are submitted").add_argument
    add("--cluster", choices=("slurm",), help="submit the work as one job array")
    add("--partition", metavar="NAME", help="of the cluster (default: its own)")
    add("--gpus", type=int, default=1, metavar="N", help="of a job (default: 1)")
    add("--cpus", type=positive, default=4, metavar="N", help="of a job (default: 4)")
    add("--hours", type=float, default=12, metavar="H", help="time limit of a job; another one goes on (default: 12)")
    return parser


def positive(text: str) -> int:
    """The value of a flag, a whole number from 1."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{number}, expected 1 or more")
    return number


def folder(text: str) -> Path:
    """The value of a flag, a directory that exists."""
    if not (path := Path(text)).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: not a directory")
    return path


def _option(*names: str, **options: object) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(*names, **options)
    return parser
