"""The measurements of the benchmark.

``python -m tools.benchmark.measurements REQUESTS`` makes some of them in a process of their own. The requests and each
line of results are JSON, see ``main``.
"""

import gc
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from configs import CONFIGS, load_config
from dataset import AVEDataset, Batch
from dataset.annotations import segment_labels, video_labels
from dataset.batches import Batches
from dataset.features import FeatureFile
from dataset.layout import FEATURES
from dataset.synthetic import AUDIO_DIM, NUM_SEGMENTS, VISUAL_DIM, SyntheticAVE, write_synthetic_ave
from engine.device.choice import choose_device
from engine.device.distributed import Ranks
from engine.evaluation import evaluate_batch
from engine.feeds import choose_feed, make_feed
from engine.state import TrainingState
from engine.training import Feeds, Trainer
from model.registry import NETWORKS, network_config
from utils.arithmetic import allow_tf32, parameter_dtype, to_device
from utils.command import run_command
from utils.memory import keep_freed_memory

DISTINCT_VIDEOS = 64  # in the feature files; longer data sets repeat them
FEED_BATCHES = 8  # read by one run of ``measure_feed``
NUM_WORKERS = 2  # processes that read the stream, as in the configs

generator = SyntheticAVE(28, signal=1, map_size=7, seed=0)
annotations = generator.annotations(DISTINCT_VIDEOS)


class Conditions(NamedTuple):
    """Conditions that all measurements share."""

    gpu: str
    batch_size: int
    seconds: float  # minimum time of a measurement
    cuda_graph: bool
    folder: str  # of the feature files, see ``write_features``


def write_features(folder: Path) -> None:
    """Write features of AVE's size: ``folder``/float64 as published, ``folder``/float16 as ``pack_features`` does."""
    for dtype in ("float64", "float16"):
        (folder / dtype).mkdir()
        write_synthetic_ave(folder / dtype, generator, annotations, num_noisy=1, dtype=dtype)


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


# ------------------------------------------------------------------------------------------------ shared parts


def best_seconds(action: Callable[[], object], conditions: Conditions) -> float:
    """Seconds of one call: the best of several runs, since whatever else the machine does only slows a run down."""
    timer = Timer("action()", globals={"action": action}, num_threads=torch.get_num_threads())
    return min(timer.blocked_autorange(min_run_time=conditions.seconds).times)


def make_trainer(conditions: Conditions, setting: str, precision: str, num_videos: int, **training: object) -> Trainer:
    """The trainer of a setting with its config, and features where ``--features auto`` puts them; it writes nothing."""
    values = {"precision": precision, "batch_size": conditions.batch_size, **training}
    network = NETWORKS["magan"][setting]
    values["event_threshold"] = network.event_threshold
    config = load_config(CONFIGS[setting]).with_values(values, "benchmark")
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
    labels = video_labels(annotations) if setting == "weakly" else segment_labels(annotations, NUM_SEGMENTS)
    rows = np.arange(num_videos) % DISTINCT_VIDEOS
    files = FeatureFile(visual, 5, VISUAL_DIM), FeatureFile(audio, 3, AUDIO_DIM)
    return AVEDataset([(*files, labels, rows)], parameter_dtype(precision))


def peak_memory() -> int:
    """The most memory that this process has held so far, in bytes."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # on Windows, which has no module ``resource``
        return memory.peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


MEASUREMENTS = {
    "ceiling": measure_product,
    "forward": measure_forward,
    "training step": measure_step,
    "epoch": measure_epoch,
    "feed": measure_feed,
}


def main() -> None:
    keep_freed_memory()  # as training and evaluation do
    for name, values, arguments in json.loads(sys.argv[1]):
        conditions = Conditions(*values)
        on_cuda = choose_device(conditions.gpu, Ranks()).type == "cuda"
        if on_cuda:
            gc.collect()  # what the measurement before has left
            torch.cuda.reset_peak_memory_stats()
        seconds = MEASUREMENTS[name](conditions, *arguments)
        peak = torch.cuda.max_memory_allocated() if on_cuda else peak_memory()
        print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak}), flush=True)


if __name__ == "__main__":
    run_command(main)
