"""Accuracy of a network on a split."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor

from dataset.feeds import Feed
from model.magan import MAGAN
from model.observation import Observation, observed
from utils.device import allow_tf32, autocast, to_device
from utils.distributed import Ranks
from utils.progress import Progress


class Details(NamedTuple):
    """What is behind the decisions; n, t, K and r count videos, segments, scored classes and regions."""

    event_probability: Tensor  # (n, t), float64, that a segment has an event
    class_probability: Tensor  # (n, K), float64
    observation: Observation  # (n, t) and (n, t, r), float64


class Evaluation(NamedTuple):
    """A network's decisions on a split, in the split's order."""

    predicted: Tensor  # (n, t), classes; background is the class after the events
    truth: Tensor  # (n, t), classes
    num_events: int
    details: Details | None = None

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
    model: MAGAN,
    feed: Feed,
    device: torch.device,
    precision: str,
    progress: Progress,
    ranks: Ranks,
    detailed: bool = False,
) -> Evaluation:
    """Decide every segment of a split with labels per segment, each once, whichever rank does it.

    Arithmetic on CUDA is full float32, without TF32. Where it is to be ``detailed``, probabilities, gates and attention
    are kept, too.
    """
    model.eval()
    allow_tf32(False)
    batches: list[dict[str, Tensor]] = []
    with observed(model) if detailed else nullcontext() as observation:
        for number, batch in enumerate(progress.track(feed.epoch(), total=len(feed))):
            owned, _ = feed.batches.sizes(number)
            visual, audio = to_device(batch.visual, device, precision), to_device(batch.audio, device, precision)
            with autocast(device, precision):
                outputs = model(visual, audio)
            answers = {"predicted": model.decide(outputs), "truth": batch.labels.argmax(dim=-1)}
            if detailed:
                answers["event_probability"] = torch.sigmoid(outputs.is_event.double())
                answers["class_probability"] = model.class_probability(outputs)
                answers |= {name: values.double() for name, values in observation()._asdict().items()}
            batches.append({name: answer[:owned] for name, answer in answers.items()})

    shares = ranks.gather([{name: answer.cpu() for name, answer in answers.items()} for answers in batches])
    whole = {name: _in_order([[answers[name] for answers in share] for share in shares]) for name in batches[0]}
    details = None
    if detailed:
        observation = Observation(*(whole[name] for name in Observation._fields))
        details = Details(whole["event_probability"], whole["class_probability"], observation)
    return Evaluation(whole["predicted"], whole["truth"], model.config.num_events, details)


def _in_order(shares: Sequence[Sequence[Tensor]]) -> Tensor:
    """The videos of a split from each rank's share of each batch: share r of a batch is its videos r, r + ranks, ..."""
    batches = []
    for parts in zip(*shares, strict=True):
        whole = parts[0].new_empty((sum(map(len, parts)), *parts[0].shape[1:]))
        for rank, part in enumerate(parts):
            whole[rank :: len(parts)] = part
        batches.append(whole)
    return torch.cat(batches)
