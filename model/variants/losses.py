"""Losses that squash no output twice."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_HIGHEST = {"um": 2, "mm": 1}  # that a supervised gate can be


class SupervisedOutputsWithLogits(NamedTuple):
    """``SupervisedOutputs``, and the logits of its scores."""

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), logits
    um_gate: Tensor | None  # (b, t), in (0, 2)
    um_score: Tensor | None  # (b, K), softmax output
    mm_gate: Tensor | None  # (b, t), in (0, 1)
    mm_score: Tensor | None  # (b, K), softmax output
    um_logits: Tensor | None  # (b, K)
    mm_logits: Tensor | None  # (b, K)


class WeaklySupervisedOutputsWithLogits(NamedTuple):
    """``WeaklySupervisedOutputs``, and the logits of its scores."""

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), softmax output
    gate: Tensor | None  # (b, t), unimodal gate times multimodal gate
    gate_score: Tensor | None  # (b, K), unimodal score times multimodal score
    event_logits: Tensor  # (b, K)
    gate_logits: Tensor | None  # (b, K), the sum of unimodal and multimodal logits


def gate_term_on_probabilities(outputs: NamedTuple, gate: str, segment_has_event: Tensor) -> Tensor:
    """BCE of the gate ``um`` or ``mm`` as a probability."""
    probability = getattr(outputs, f"{gate}_gate") / _HIGHEST[gate]
    with torch.autocast(probability.device.type, enabled=False):  # which refuses this loss
        return F.binary_cross_entropy(probability.to(segment_has_event.dtype), segment_has_event)


def score_term_on_logits(outputs: NamedTuple, gate: str, video_event: Tensor) -> Tensor:
    """CE of the score of the gate ``um`` or ``mm``."""
    return F.cross_entropy(getattr(outputs, f"{gate}_logits"), video_event)


def event_term_on_logits(outputs: NamedTuple, labels: Tensor) -> Tensor:
    """CE of the video's score."""
    return F.cross_entropy(outputs.event_logits, labels.argmax(dim=-1))


def weak_gate_term_on_logits(outputs: NamedTuple, labels: Tensor) -> Tensor:
    """CE of log um_score + log mm_score, which is that of the sum of their logits."""
    return F.cross_entropy(outputs.gate_logits, labels.argmax(dim=-1))
