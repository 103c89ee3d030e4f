"""What the benchmark measures. Each measurement runs in a process of its own, so that peak memory is its own."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from configs import CONFIGS, Config, load_config
from dataset import AVEDataset
from dataset.batches import Batches
from dataset.features import FeatureFile
from dataset.layout import FEATURES
from engine.distributed import Ranks
from engine.feeds import choose_feed, make_feed
from engine.state import TrainingState
from engine.training import Feeds, Trainer
from model import MODELS
from model.temporal_relations import Relations
from utils.arithmetic import allow_tf32, autocast, parameter_dtype, to_device

# Of one video, forward and in a training step; a multiply-add counts as two.
GFLOP = {"supervised": {"forward": 2.32, "training step": 6.95}, "weakly": {"forward": 2.36, "training step": 7.1}}
# (m, k, n): a product with nothing but size in its favour, and the network's most frequent one, of 64 videos' regions.
PRODUCTS = {"4096x4096x4096": (4096, 4096, 4096), "31360x512x512": (31360, 512, 512)}
CEILING_DTYPES = {"float32": torch.float32, "tf32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}

VISUAL, AUDIO = (10, 7, 7, 512), (10, 128)  # of a video of AVE
CLASSES = 29
EPOCH_VIDEOS = 3339  # AVE's training split
DISTINCT_VIDEOS = 32  # random ones; a larger set repeats them


@dataclass(frozen=True)
class Conditions:
    """What all measurements of a benchmark have in common."""

    device: torch.device
    batch_size: int
    seconds: float  # how long each measurement repeats what it times, at least
    num_workers: int
    compiled: bool


class RandomFeatures:
    """Random features of any number of videos, read like a ``FeatureFile``, which take the memory of a few."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.values = np.random.default_rng(0).random((DISTINCT_VIDEOS, *shape[1:]), np.float32).astype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, rows: Sequence[int], out: np.ndarray, places: Sequence[int]) -> None:
        """Put the given rows at the given places of ``out``."""
        out[places] = self.values[np.asarray(rows) % DISTINCT_VIDEOS]


# -------------------------------------------------------------------------------------------------- the measurements


def measure_ceiling(conditions: Conditions, name: str) -> dict[str, float]:
    """GFLOP/s of each of ``PRODUCTS`` and, as ``best``, of the better one, for a key of ``CEILING_DTYPES``."""
    allow_tf32(name == "tf32")
    speeds = {}
    for product, (m, k, n) in PRODUCTS.items():
        options = {"device": conditions.device, "dtype": CEILING_DTYPES[name]}
        left, right = torch.randn(m, k).to(**options), torch.randn(n, k).to(**options).t()  # as a Linear's weight lies
        out = torch.empty(m, n, **options)
        seconds = best_seconds(lambda a=left, b=right, c=out: torch.mm(a, b, out=c), conditions)
        speeds[product] = 2 * m * k * n / seconds / 1e9
    return {"best": max(speeds.values()), **speeds}


def measure_forward(conditions: Conditions, setting: str, precision: str) -> dict[str, float]:
    """An evaluation batch, from features on the device to decisions: ``videos_per_s`` and ``peak_memory_bytes``."""
    trainer = random_trainer(conditions, setting, precision, conditions.batch_size)
    batch = next(iter(trainer.feeds.test.epoch()))
    model = trainer.model.eval()
    allow_tf32(False)

    @torch.inference_mode()
    def forward() -> None:
        visual, audio = (to_device(values, conditions.device, precision) for values in (batch.visual, batch.audio))
        with autocast(conditions.device, precision):
            model.decide(model(visual, audio))

    return _speed_and_memory(conditions, best_seconds(forward, conditions))


def measure_step(conditions: Conditions, setting: str, precision: str) -> dict[str, float]:
    """The trainer's own step, from features on the device: ``videos_per_s`` and ``peak_memory_bytes``."""
    _, step = _training_step(conditions, setting, precision)
    return _speed_and_memory(conditions, best_seconds(step, conditions))


def measure_parts(conditions: Conditions, setting: str, precision: str) -> list[dict[str, object]]:
    """Forward and backward of each part alone, on the inputs that it has in a step: ``name``, ``seconds``, ``share``.

    The share is that of the step as the same process measures it, without ``torch.compile``.
    """
    conditions = Conditions(**{**vars(conditions), "compiled": False})
    trainer, step = _training_step(conditions, setting, precision)
    step_seconds = best_seconds(step, conditions)
    model, optimizer = trainer.model, trainer.optimizer
    batch = next(iter(trainer.feeds.train.epoch()))
    features = (batch.visual, batch.audio)
    labels = batch.labels.to(conditions.device, parameter_dtype(precision))
    kind = type(model(*(to_device(values, conditions.device, precision) for values in features)))

    def refine(*features: Tensor) -> tuple[Tensor, Tensor]:
        return model.refine(*(to_device(values, conditions.device, precision) for values in features))

    def co_interact(*relations: Tensor) -> Iterable[Tensor]:
        return model.localize(model.co_interact(Relations(*relations)))

    def loss(*outputs: Tensor) -> tuple[Tensor]:
        return (model.loss(kind(*outputs), labels)["loss"],)

    def optimize() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), trainer.config.training.clip_gradient)
        optimizer.step()

    # The gradients are those of the step. So many updates along them would drive the network into saturation, where
    # gradients too small for float32's usual form slow a CPU down: afterwards its weights are what they were.
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    parts, inputs = {"optimizer": best_seconds(optimize, conditions)}, features
    model.load_state_dict(weights)
    for name, part in {
        "refine": refine,
        "co-attention": model.co_attend,
        "temporal": model.relate_in_time,
        "co-interaction": co_interact,
        "loss": loss,
    }.items():
        with autocast(conditions.device, precision):
            outputs = part(*inputs)
        gradients = [torch.randn_like(output) for output in outputs]

        def forward_and_backward(part=part, inputs=inputs, gradients=gradients) -> None:
            model.zero_grad()
            with autocast(conditions.device, precision):
                outputs = part(*inputs)
            pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
            torch.autograd.backward(*zip(*pairs, strict=True))

        parts[name] = best_seconds(forward_and_backward, conditions)
        inputs = [output.detach().requires_grad_(output.is_floating_point()) for output in outputs]
    order = ("refine", "co-attention", "temporal", "co-interaction", "loss", "optimizer")
    return [{"name": name, "seconds": parts[name], "share": parts[name] / step_seconds} for name in order]


def measure_feed(conditions: Conditions, where: str, folder: Path) -> float:
    """Videos per second from the files of ``folder`` to float32 features on the device, after one epoch to warm up."""
    visual, audio = (FeatureFile(folder / name, 1 + len(shape), shape[-1]) for name, shape in _files())
    dataset = AVEDataset([(visual, audio, _labels("supervised", len(visual)), np.arange(len(visual)))], torch.float32)
    batches = Batches(len(dataset), conditions.batch_size, seed=0)
    feed = make_feed(where, dataset, batches, conditions.num_workers, conditions.device)

    def epoch() -> None:
        for batch in feed.epoch():
            to_device(batch.visual, conditions.device, "fp32")
            to_device(batch.audio, conditions.device, "fp32")

    return len(dataset) / best_seconds(epoch, conditions)


def measure_epoch(conditions: Conditions, setting: str, precision: str, num_videos: int = EPOCH_VIDEOS) -> float | None:
    """Seconds of a training epoch with all features on the device, or in memory; None where they have no room."""
    where = choose_feed("auto", [_random_dataset(conditions, setting, precision, num_videos)], conditions.device)
    if where == "stream":
        return None
    trainer = random_trainer(conditions, setting, precision, num_videos, where)
    warm_up = 10 if conditions.device.type == "cuda" else 2
    trainer.state.iteration = max(0, len(trainer.feeds.train) - warm_up)
    trainer.train_epoch()

    best, began = math.inf, time.perf_counter()
    while best == math.inf or time.perf_counter() - began < conditions.seconds:
        trainer.state = TrainingState()
        best = min(best, _timed(trainer.train_epoch, conditions.device))
    return best


def write_features(folder: Path, dtype: str, num_videos: int) -> None:
    """Feature files of AVE's shape with random contents."""
    folder.mkdir()
    for name, shape in _files():
        features = RandomFeatures((num_videos, *shape), "float32")
        with h5py.File(folder / name, "w") as file:
            data = file.create_dataset("avadataset", features.shape, dtype)
            for row in range(num_videos):
                data[row] = features.values[row % DISTINCT_VIDEOS].astype(dtype)


# -------------------------------------------------------------------------------------------------- how it is done


def best_seconds(action: Callable[[], object], conditions: Conditions) -> float:
    """Seconds of one call: the best of several runs, since whatever else the machine does can only slow one down.

    A run is many calls where a call is short: a device works them off while the next ones are still being launched.
    """
    warm_up = 3 if conditions.compiled or conditions.device.type == "cuda" else 1
    for _ in range(warm_up):
        action()
    calls = math.ceil(min(1000, 0.02 / max(1e-9, _timed(action, conditions.device))))

    def run() -> None:
        for _ in range(calls):
            action()

    times, began = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < conditions.seconds:
        times.append(_timed(run, conditions.device) / calls)
    return min(times)


def random_trainer(
    conditions: Conditions, setting: str, precision: str, num_videos: int, where: str | None = None
) -> Trainer:
    """The trainer of a setting with its config, on random videos of AVE's size; it writes nothing."""
    values = {"precision": precision, "batch_size": conditions.batch_size}
    config: Config = load_config(CONFIGS[setting]).with_values(values, "benchmark")
    torch.manual_seed(0)
    model = MODELS[setting](config.model).to(conditions.device, parameter_dtype(precision))
    dataset = _random_dataset(conditions, setting, precision, num_videos)
    batches = Batches(num_videos, conditions.batch_size, seed=0)
    where = where or ("device" if conditions.device.type == "cuda" else "ram")
    feed = make_feed(where, dataset, batches, conditions.num_workers, conditions.device)
    return Trainer(
        model,
        config,
        Feeds(feed, feed, feed),
        run=None,
        class_names=[],
        device=conditions.device,
        save_seconds=math.inf,
        ranks=Ranks(),
        compiled=conditions.compiled,
    )


def _training_step(conditions: Conditions, setting: str, precision: str) -> tuple[Trainer, Callable[[], None]]:
    """A trainer that has warmed up with an epoch of one batch, and its step on that batch."""
    trainer = random_trainer(conditions, setting, precision, conditions.batch_size)
    trainer.train_epoch()
    batch = next(iter(trainer.feeds.train.epoch()))
    trainer.state = TrainingState()
    return trainer, lambda: trainer.step(batch)


def _speed_and_memory(conditions: Conditions, seconds: float) -> dict[str, float]:
    if conditions.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(conditions.device)
    else:
        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"videos_per_s": conditions.batch_size / seconds, "peak_memory_bytes": peak}


def _timed(action: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _random_dataset(conditions: Conditions, setting: str, precision: str, num_videos: int) -> AVEDataset:
    """Packed float16 features for a GPU, where they then all fit; on the CPU the type that is computed in."""
    wide = parameter_dtype(precision)
    dtype = "float16" if conditions.device.type == "cuda" else str(wide).removeprefix("torch.")
    visual, audio = (RandomFeatures((num_videos, *shape), dtype) for shape in (VISUAL, AUDIO))
    return AVEDataset([(visual, audio, _labels(setting, num_videos), np.arange(num_videos))], wide)


def _labels(setting: str, num_videos: int) -> np.ndarray:
    """One event per video, on half of the segments where they have labels of their own."""
    one_hot = np.eye(CLASSES, dtype=np.float32)
    events = one_hot[np.arange(num_videos) % (CLASSES - 1)]
    if setting == "weakly":
        return events
    labels = np.repeat(events[:, None], VISUAL[0], axis=1)
    labels[:, VISUAL[0] // 2 :] = one_hot[-1]
    return labels


def _files() -> Iterable[tuple[str, tuple[int, ...]]]:
    return zip(FEATURES, (VISUAL, AUDIO), strict=True)
