"""Evaluation of a network on a split."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from dataset import AVEDataset, Batch
from engine.device.cuda_graph import CapturedBatches
from engine.device.distributed import Ranks
from engine.evaluation.measures import Measures, measure
from engine.feeds import Feed
from model.magan import MAGAN
from model.observation import Observation, observed
from utils.arithmetic import allow_tf32, autocast, finite, for_decision, to_device
from utils.errors import InputError
from utils.progress import Progress


class Details(NamedTuple):
    """Class probabilities, gates and attention; n, t, K, r count videos, segments, scored classes and regions."""

    class_probability: Tensor  # (n, K), float64
    observation: Observation  # (n, t) and (n, t, r), float64; None for what a variant has not


class Evaluation(NamedTuple):
    """The decisions of a network on a split, in the order of the split."""

    predicted: Tensor  # (n, t), classes; background is the class after the events
    truth: Tensor  # (n, t), classes
    event_probability: Tensor  # (n, t), float64, that a segment shows an event
    num_events: int
    details: Details | None = None
    best_class: Tensor | None = None  # (n, t), the class of each segment if it is an event
    named: Tensor | None = None  # (n,), the event of each video with the highest score
    dataset: AVEDataset | None = None  # the videos of the split

    def with_threshold(self, threshold: float) -> "Evaluation":
        """The decisions with another threshold of the event probability."""
        predicted = torch.where(self.event_probability > threshold, self.best_class, self.num_events)
        return self._replace(predicted=predicted)

    @property
    def accuracy(self) -> float:
        """Segment accuracy: percent of all segments whose class is correct."""
        return 100 * (self.predicted == self.truth).double().mean().item()

    @property
    def background(self) -> float:
        """Accuracy of always predicting background, in percent."""
        return 100 * (self.truth == self.num_events).double().mean().item()

    def measures(self) -> Measures:
        """All measures of localization."""
        decisions = (self.event_probability.numpy(), self.named.numpy())
        return measure(self.predicted.numpy(), self.truth.numpy(), self.num_events, *decisions)


def result_line(accuracy: float) -> str:
    """The line that announces an accuracy, in percent."""
    return f"Evaluation results (acc): {accuracy:.4f}%."


@torch.inference_mode()
def evaluate(
    model: MAGAN,
    feed: Feed,
    device: torch.device,
    precision: str,
    progress: Progress,
    ranks: Ranks,
    detailed: bool = False,
    batches_captured: CapturedBatches | None = None,
) -> Evaluation:
    """Predict every segment of a split with labels per segment, each on one of the ranks.

    On CUDA, float32 products are computed without TF32. ``detailed`` also keeps all of ``Details``. With
    ``batches_captured``, always of the same network and precision, batches are replayed as CUDA graphs.

    Raises:
        InputError: features or outputs are not finite; names the split, the rows and the ids.
    """
    model.eval()
    allow_tf32(False)
    batches: list[dict[str, Tensor]] = []
    with observed(model) if detailed else nullcontext() as observation:

        def predict(*tensors: Tensor) -> dict[str, Tensor]:
            return evaluate_batch(model, Batch(*tensors), device, precision, observation)

        for number, batch in enumerate(progress.track(feed.epoch(), total=len(feed))):
            share, _ = feed.batches.sizes(number)
            if batches_captured:
                results = batches_captured(predict, [tensor.to(device, non_blocking=True) for tensor in batch])
            else:
                results = predict(*batch)
            batches.append({name: values[:share] for name, values in results.items()})

    shares = ranks.all_gather([{name: values.cpu() for name, values in results.items()} for results in batches])
    whole = {name: _merge_shares([[results[name] for results in share] for share in shares]) for name in batches[0]}
    _require_finite(feed.dataset, whole["finite"], precision)
    details = None
    if detailed:
        observation = Observation(*(whole.get(name) for name in Observation._fields))
        details = Details(whole["class_probability"], observation)
    decisions = (whole[name] for name in ("predicted", "truth", "event_probability"))
    return Evaluation(*decisions, model.config.num_events, details, whole["best_class"], whole["named"], feed.dataset)


def evaluate_batch(
    model: MAGAN,
    batch: Batch,
    device: torch.device,
    precision: str,
    observation: Callable[[], Observation] | None = None,
) -> dict[str, Tensor]:
    """``predicted``, ``truth``, ``event_probability`` and ``best_class`` of a batch, (b, t) each, and ``named``, (b,).

    And ``finite``, (b, 3): whether the visual features, the audio features and the outputs are. Nothing here waits for
    the device. With the ``observation`` of ``observed(model)``, also the values of ``Details``.
    """
    visual, audio = to_device(batch.visual, device, precision), to_device(batch.audio, device, precision)
    with autocast(device, precision):
        outputs = model(visual, audio)
    scores = torch.cat([each for each in outputs if each is not None], dim=1)
    are_finite = torch.stack([finite(values) for values in (visual, audio, scores)], dim=1)
    outputs = for_decision(outputs)
    class_probability = model.class_probability(outputs)
    results = {
        "predicted": model.decide(outputs),
        "truth": batch.labels.argmax(dim=-1),
        "event_probability": torch.sigmoid(outputs.is_event.double()),
        "best_class": model.best_class(outputs).unsqueeze(-1).expand(outputs.is_event.shape),
        "named": class_probability[:, : model.config.num_events].argmax(dim=-1),
        "finite": are_finite,
    }
    if observation:
        results["class_probability"] = class_probability
        observed_values = for_decision(observation()._asdict())
        results |= {name: values.double() for name, values in observed_values.items() if values is not None}
    return results


def _require_finite(dataset: AVEDataset, are_finite: Tensor, precision: str) -> None:
    dataset.require_finite(are_finite[:, :2])
    videos = torch.nonzero(~are_finite[:, 2]).flatten().tolist()
    if videos:
        raise InputError(
            f"the network's outputs for the {dataset.split} split are not finite in {precision}: rows "
            f"{dataset.describe_rows(videos)}. No accuracy or prediction may come from them. The features of the split "
            "are finite. Some may be too large (python -m tools.check_data --full names them), or the weights of the "
            "network (train with a smaller --lr)"
        )


def _merge_shares(shares: Sequence[Sequence[Tensor]]) -> Tensor:
    """Merge the ranks' shares of each batch: rank r has its videos r, r + world size, ..."""
    batches = []
    for parts in zip(*shares, strict=True):
        whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        batches.append(whole)
    return torch.cat(batches)
