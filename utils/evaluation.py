"""Accuracy of a network on a split."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dataset.feeds import Feed
from model.magan import MAGAN
from utils.device import allow_tf32, autocast, to_device
from utils.distributed import Ranks
from utils.progress import Progress


class Evaluation(NamedTuple):
    """A network's decisions on a split, in the split's order."""

    predicted: Tensor  # (n, t), classes; background is the class after the events
    truth: Tensor  # (n, t), classes
    num_events: int

    @property
    def accuracy(self) -> float:
        """Percent of all segments whose class is right."""
        return 100 * (self.predicted == self.truth).double().mean().item()

    @property
    def background(self) -> float:
        """The accuracy of always answering background."""
        return 100 * (self.truth == self.num_events).double().mean().item()


def result_line(accuracy: float) -> str:
    """How an accuracy in percent is announced."""
    return f"Evaluation results (acc): {accuracy:.4f}%."


@torch.inference_mode()
def evaluate(
    model: MAGAN, feed: Feed, device: torch.device, precision: str, progress: Progress, ranks: Ranks
) -> Evaluation:
    """Decide every segment of a split with labels per segment, each once, whichever rank does it.

    Arithmetic on CUDA is full float32, without TF32.
    """
    model.eval()
    allow_tf32(False)
    predicted, truth = [], []
    for number, batch in enumerate(progress.track(feed.epoch(), total=len(feed))):
        owned, _ = feed.batches.sizes(number)
        visual, audio = to_device(batch.visual, device, precision), to_device(batch.audio, device, precision)
        with autocast(device, precision):
            outputs = model(visual, audio)
        predicted.append(model.decide(outputs)[:owned])
        truth.append(batch.labels.argmax(dim=-1)[:owned])
    shares = ranks.gather(([part.cpu() for part in predicted], [part.cpu() for part in truth]))
    return Evaluation(*(_in_order(parts) for parts in zip(*shares, strict=True)), model.config.num_events)


def _in_order(shares: Sequence[Sequence[Tensor]]) -> Tensor:
    """The videos of a split from each rank's share of each batch: share r of a batch is its videos r, r + ranks, ..."""
    batches = []
    for parts in zip(*shares, strict=True):
        whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        batches.append(whole)
    return torch.cat(batches)
