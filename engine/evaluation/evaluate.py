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
from model.network import Decisions, Network, Observation
from utils.arithmetic import allow_tf32, autocast, finite, for_decision, to_device
from utils.errors import InputError
from utils.progress import Progress


class Evaluation(NamedTuple):
    """The decisions of a network on a split, in the order of its n videos of t segments."""

    decisions: Decisions
    truth: Tensor  # (n, t), classes; background is the class after the events
    num_events: int
    threshold: float  # of the event probability
    dataset: AVEDataset  # the videos of the split
    observation: Observation  # what the network observes, float64; empty if not asked for

    @property
    def predicted(self) -> Tensor:
        """The class of each segment (n, t)."""
        return self.decisions.classes(self.threshold, self.num_events)

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
        return measure(
            self.predicted.numpy(),
            self.truth.numpy(),
            self.num_events,
            self.decisions.event_probability.numpy(),
            self.decisions.named(self.num_events).numpy(),
        )


def result_line(accuracy: float) -> str:
    """The line that announces an accuracy, in percent."""
    return f"Evaluation results (acc): {accuracy:.4f}%."


@torch.inference_mode()
def evaluate(
    model: Network,
    feed: Feed,
    device: torch.device,
    precision: str,
    threshold: float,
    progress: Progress,
    ranks: Ranks,
    observe: bool = False,
    batches_captured: CapturedBatches | None = None,
) -> Evaluation:
    """Predict every segment of a split with labels per segment, each on one of the ranks.

    On CUDA, float32 products are computed without TF32. ``observe`` keeps what the network observes. With
    ``batches_captured``, always of the same network and precision, batches are replayed as CUDA graphs.

    Raises:
        InputError: features or outputs are not finite; names the split, the rows and the ids.
    """
    model.eval()
    allow_tf32(False)
    batches: list[dict[str, Tensor]] = []
    with model.observed() if observe else nullcontext() as observed:

        def predict(*tensors: Tensor) -> dict[str, Tensor]:
            return evaluate_batch(model, Batch(*tensors), device, precision, observed)

        for number, batch in enumerate(progress.track(feed.epoch(), total=len(feed))):
            share, _ = feed.batches.sizes(number)
            if batches_captured:
                results = batches_captured(predict, [tensor.to(device, non_blocking=True) for tensor in batch])
            else:
                results = predict(*batch)
            batches.append({name: values[:share] for name, values in results.items()})

    shares = ranks.all_gather([{name: values.cpu() for name, values in results.items()} for results in batches])
    whole = {name: _merge_shares([[results[name] for results in share] for share in shares]) for name in batches[0]}
    _require_finite(feed.dataset, whole.pop("finite"), precision)
    decisions, truth = Decisions(*(whole.pop(name) for name in Decisions._fields)), whole.pop("truth")
    return Evaluation(decisions, truth, model.config.num_events, threshold, feed.dataset, whole)


def evaluate_batch(
    model: Network,
    batch: Batch,
    device: torch.device,
    precision: str,
    observed: Callable[[NamedTuple], Observation] | None = None,
) -> dict[str, Tensor]:
    """The fields of ``Decisions`` for a batch, ``truth`` (b, t), and ``finite`` (b, 3).

    The latter says whether the visual features, the audio features and the outputs are. Nothing here waits for the
    device. With the function of ``model.observed()``, also what the network observes.
    """
    visual, audio = to_device(batch.visual, device, precision), to_device(batch.audio, device, precision)
    with autocast(device, precision):
        outputs = model(visual, audio)
    scores = torch.cat([each.flatten(1) for each in outputs if each is not None], dim=1)
    are_finite = torch.stack([finite(values) for values in (visual, audio, scores)], dim=1)
    decisions = model.decisions(for_decision(outputs))
    results = {**decisions._asdict(), "truth": batch.labels.argmax(dim=-1), "finite": are_finite}
    if observed:
        results |= {name: values.double() for name, values in for_decision(observed(outputs)).items()}
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
