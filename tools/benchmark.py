"""Measure how fast this machine trains and evaluates MAGAN, and compare it with the machine's matrix products.

A measurement repeats for --seconds; the best run counts. ceiling is a matrix product, forward an evaluation batch;
training step and epoch are the trainer's own. Their features are on the device, or in memory on a CPU. Shares are of
the best product in the same arithmetic: TF32 where a GPU trains in float32, float32 where a CPU multiplies bfloat16 in
it. feed reads files, float64 as published or float16 as tools.pack_features writes them, until the features are on the
device in float32.
"""

import argparse
import gc
import json
import platform
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from configs import CONFIGS, PRECISIONS, load_config
from dataset import AVEDataset, Batch
from dataset.annotations import segment_labels, video_labels
from dataset.batches import Batches
from dataset.features import FeatureFile
from dataset.layout import FEATURES
from dataset.synthetic import AUDIO_DIM, NUM_SEGMENTS, VISUAL_DIM, SyntheticAVE, write_synthetic_ave
from engine.device.choice import choose_device, describe
from engine.device.distributed import Ranks
from engine.evaluation import evaluate_batch
from engine.feeds import choose_feed, make_feed
from engine.state import TrainingState
from engine.training import Feeds, Trainer
from model.registry import network_class, network_config
from tools.arguments import gpu_option, positive, tool_parser
from utils.arithmetic import allow_tf32, has_bfloat16, parameter_dtype, require_precision, to_device
from utils.command import run_command
from utils.log import log_to_terminal
from utils.memory import keep_freed_memory, out_of_memory_as_error
from utils.progress import Progress

# Of one video as the equations state it; a multiply-add counts as two. A training step needs less: it leaves out a
# product, see MultiHeadAttention.residual.
GFLOP = {
    "supervised": {"forward": 2.32, "training step": 6.95, "epoch": 6.95},
    "weakly": {"forward": 2.36, "training step": 7.1, "epoch": 7.1},
}
# (m, k, n): a large square product, and the most frequent one of the network, over the regions of 64 videos.
PRODUCTS = ((4096, 4096, 4096), (31360, 512, 512))
ARITHMETIC = {"fp32": "float32", "bf16": "bfloat16", "fp64": "float64"}
EPOCH_VIDEOS = 3339  # AVE's training split
DISTINCT_VIDEOS = 64  # in the feature files; longer data sets repeat them
FEED_BATCHES = 8  # read by one run of ``measure_feed``
NUM_WORKERS = 2  # processes that read the stream, as in the configs


class Conditions(NamedTuple):
    """Conditions that all measurements share."""

    gpu: str
    batch_size: int
    seconds: float  # minimum time of a measurement
    cuda_graph: bool
    folder: str  # of the feature files, see ``write_features``


class Measurement(NamedTuple):
    """A measurement and the work that it does."""

    name: str
    seconds: Callable[[Conditions], float]  # of one call
    videos: int = 0
    gflop: float = 0
    arithmetic: str = ""


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("benchmark", __doc__, gpu_option())
    add = parser.add_argument
    add("--setting", nargs="+", choices=tuple(GFLOP), default=["supervised"], help="networks (default: supervised)")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="arithmetic (default: all)")
    add("--batch_size", type=positive, default=64, metavar="N", help="videos in a batch (default: 64)")
    graph = {"action": argparse.BooleanOptionalAction, "default": True}
    add("--cuda_graph", "--compile", **graph, help="on CUDA, replay steps and evaluations as CUDA graphs (default)")
    add("--epoch", action="store_true", help=f"measure epochs of {EPOCH_VIDEOS} videos too, minutes each on a CPU")
    add("--seconds", type=float, default=10, metavar="S", help="minimum time of a measurement (default: 10)")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args()
    if not args.seconds >= 0:  # nor nan
        parser.error(f"--seconds is {args.seconds}, expected 0 or more")
    return args


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    device = choose_device(args.gpu, Ranks())
    for precision in args.precision:
        require_precision(device, precision)
    keep_freed_memory()  # as training and evaluation do
    with tempfile.TemporaryDirectory(prefix="magan-benchmark-") as folder:
        write_features(Path(folder))
        conditions = Conditions(args.gpu, args.batch_size, args.seconds, args.cuda_graph, folder)
        rows = measure(list(plan(args, device)), conditions, device)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    if args.json:
        print(json.dumps({"device": describe(device), "versions": versions, "results": rows}, indent=2))
    else:
        print(describe(device), *(f"{name} {version}" for name, version in versions.items() if version), sep=", ")
        print_table(rows)


def plan(args: argparse.Namespace, device: torch.device) -> Iterator[Measurement]:
    """All measurements, the ceilings first."""
    tf32 = ["tf32"] if device.type == "cuda" and "fp32" in args.precision else []
    multiplies = dict(ARITHMETIC)
    if device.type == "cpu" and not has_bfloat16():
        multiplies["bf16"] = "float32"
    for arithmetic in [*dict.fromkeys(multiplies[precision] for precision in args.precision), *tf32]:
        for m, k, n in PRODUCTS:
            action = partial(measure_product, arithmetic=arithmetic, m=m, k=k, n=n)
            yield Measurement(f"ceiling {arithmetic} {m} {k} {n}", action, 0, 2e-9 * m * k * n, arithmetic)
    kinds = {"forward": measure_forward, "training step": measure_step, "epoch": measure_epoch}
    for setting, precision, kind in product(args.setting, args.precision, kinds):
        if kind == "epoch" and not args.epoch:
            continue
        videos = EPOCH_VIDEOS if kind == "epoch" else args.batch_size
        arithmetic = "tf32" if tf32 and precision == "fp32" and kind != "forward" else multiplies[precision]
        action = partial(kinds[kind], setting=setting, precision=precision, num_videos=videos)
        gflop = videos * GFLOP[setting][kind]
        yield Measurement(f"{kind} {setting} {precision} {videos}", action, videos, gflop, arithmetic)
    for place, dtype in (("stream", "float64"), ("stream", "float16"), ("ram", "float16"), ("device", "float16")):
        if place != "device" or device.type != "cpu":
            action = partial(measure_feed, place=place, dtype=dtype)
            yield Measurement(f"feed {place} {dtype}", action, FEED_BATCHES * args.batch_size)


def measure(measurements: list[Measurement], conditions: Conditions, device: torch.device) -> list[dict]:
    """Make the measurements; one row for each."""
    rows, ceiling = [], defaultdict(float)
    progress = Progress("measuring", print_freq=1)
    for measurement in progress.track(measurements, total=len(measurements)):
        if device.type == "cuda":
            gc.collect()  # what the measurement before has left
            torch.cuda.reset_peak_memory_stats()
        with out_of_memory_as_error(device, f"{measurement.name} does not fit, give a smaller --batch_size"):
            seconds = measurement.seconds(conditions)
        gflops = measurement.gflop / seconds
        if measurement.name.startswith("ceiling"):
            ceiling[measurement.arithmetic] = max(gflops, ceiling[measurement.arithmetic])
        rows.append(
            {
                "name": measurement.name,
                "seconds": seconds,
                "peak_memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else None,
                "videos_per_s": measurement.videos / seconds if measurement.videos else None,
                "gflops": gflops or None,
                "share": gflops / ceiling[measurement.arithmetic] if gflops else None,
            }
        )
        progress.notes = measurement.name
    return rows


def print_table(rows: list[dict]) -> None:
    """Print the rows, with a dash for a value that a measurement does not have."""
    columns = {"seconds": "10.5f", "videos_per_s": "10.1f", "gflops": "10.1f", "share": "10.1%", "peak GB": "10.2f"}
    print(f"\n{'':32}" + "".join(f"{name:>13}" for name in columns))
    for row in rows:
        row = {**row, "peak GB": row["peak_memory_bytes"] and row["peak_memory_bytes"] / 1e9}
        cells = (format(row[name], form) if row[name] is not None else "-" for name, form in columns.items())
        print(f"{row['name']:32}" + "".join(f"{cell:>13}" for cell in cells))


# ------------------------------------------------------------------------------------------------ measurements


def measure_product(conditions: Conditions, arithmetic: str, m: int, k: int, n: int) -> float:
    """Seconds of (m, k) times (k, n) in ``float32``, ``tf32``, ``bfloat16`` or ``float64``."""
    allow_tf32(arithmetic == "tf32")
    options = {
        "dtype": torch.float32 if arithmetic == "tf32" else getattr(torch, arithmetic),
        "device": choose_device(conditions.gpu, Ranks()),
    }
    left, right = torch.randn(m, k, **options), torch.randn(n, k, **options).t()  # like the weight of a Linear
    out = torch.empty(m, n, **options)
    return best_seconds(lambda: torch.mm(left, right, out=out), conditions)


def measure_forward(conditions: Conditions, setting: str, precision: str, num_videos: int) -> float:
    """Seconds of an evaluation batch, from features on the device to decisions."""
    trainer = make_trainer(conditions, setting, precision, num_videos)
    batch = next(iter(trainer.feeds.test.epoch()))
    model, device = trainer.model.eval(), trainer.device
    allow_tf32(False)

    def predict(*tensors: Tensor) -> dict[str, Tensor]:
        return evaluate_batch(model, Batch(*tensors), device, precision)

    with torch.inference_mode():
        if trainer.captured_batches:
            return best_seconds(lambda: trainer.captured_batches(predict, batch), conditions)
        return best_seconds(lambda: predict(*batch), conditions)


def measure_step(conditions: Conditions, setting: str, precision: str, num_videos: int) -> float:
    """Seconds of the trainer's step, from features on the device."""
    trainer = make_trainer(conditions, setting, precision, num_videos)
    trainer.train_epoch()  # of one batch
    batch = next(iter(trainer.feeds.train.epoch()))
    trainer.state = TrainingState()
    return best_seconds(lambda: trainer.step(batch), conditions)


def measure_epoch(conditions: Conditions, setting: str, precision: str, num_videos: int, **training: object) -> float:
    """Seconds of the trainer's epoch, with other values than the config's if ``training`` has some."""
    trainer = make_trainer(conditions, setting, precision, num_videos, **training)

    def train_epoch() -> None:
        trainer.state = TrainingState()
        trainer.train_epoch()

    return best_seconds(train_epoch, conditions)


def measure_feed(conditions: Conditions, place: str, dtype: str) -> float:
    """Seconds from the files of ``dtype`` to float32 features on the device."""
    device = choose_device(conditions.gpu, Ranks())
    videos = FEED_BATCHES * conditions.batch_size
    dataset = make_dataset(conditions, "supervised", "fp32", videos, dtype)
    feed = make_feed(place, dataset, Batches(videos, conditions.batch_size, seed=0), NUM_WORKERS, device)

    def read() -> None:
        for batch in feed.epoch():
            for features in (batch.visual, batch.audio):
                to_device(features, device, "fp32")

    return best_seconds(read, conditions)


def best_seconds(action: Callable[[], object], conditions: Conditions) -> float:
    """Seconds of one call: the best of several runs, since whatever else the machine does only slows a run down."""
    timer = Timer("action()", globals={"action": action}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=conditions.seconds).times)


# ------------------------------------------------------------------------------------------------ data and trainer


def _generator() -> SyntheticAVE:
    return SyntheticAVE(28, signal=1, map_size=7, seed=0)


def write_features(folder: Path) -> None:
    """Write features of AVE's size: ``folder``/float64 as published, ``folder``/float16 as ``pack_features`` does."""
    generator = _generator()
    for dtype in ("float64", "float16"):
        (folder / dtype).mkdir()
        write_synthetic_ave(folder / dtype, generator, generator.annotations(DISTINCT_VIDEOS), num_noisy=1, dtype=dtype)


def make_trainer(conditions: Conditions, setting: str, precision: str, num_videos: int, **training: object) -> Trainer:
    """The trainer of a setting with its config, and features where ``--features auto`` puts them; it writes nothing."""
    network = network_class("magan", setting)
    values = {"precision": precision, "batch_size": conditions.batch_size, "event_threshold": network.event_threshold}
    config = load_config(CONFIGS[setting]).with_values(values | training, "benchmark")
    device = choose_device(conditions.gpu, Ranks())
    torch.manual_seed(0)
    model = network(network_config(network, config)).to(device, parameter_dtype(precision))
    # Float64 files are held in the precision's own type, which a CPU need not convert; a GPU has room for float16.
    dataset = make_dataset(conditions, setting, precision, num_videos, "float64" if device.type == "cpu" else "float16")
    batches = Batches(num_videos, conditions.batch_size, seed=0)
    feed = make_feed(choose_feed("auto", [dataset], device), dataset, batches, NUM_WORKERS, device)
    feeds = Feeds(feed, feed, feed)
    return Trainer(model, config, feeds, None, [], device, float("inf"), Ranks(), conditions.cuda_graph)


def make_dataset(conditions: Conditions, setting: str, precision: str, num_videos: int, dtype: str) -> AVEDataset:
    """``num_videos`` videos of the files of ``dtype``, labelled as the setting is trained."""
    visual, audio = (Path(conditions.folder, dtype, name) for name in FEATURES)
    annotations = _generator().annotations(DISTINCT_VIDEOS)
    labels = video_labels(annotations) if setting == "weakly" else segment_labels(annotations, NUM_SEGMENTS)
    rows = np.arange(num_videos) % DISTINCT_VIDEOS
    files = FeatureFile(visual, 5, VISUAL_DIM), FeatureFile(audio, 3, AUDIO_DIM)
    return AVEDataset([(*files, labels, rows)], parameter_dtype(precision))


if __name__ == "__main__":
    run_command(main)
