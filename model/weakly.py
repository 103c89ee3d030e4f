"""The weakly-supervised setting: a label for each video."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.co_interaction import Interactions, UnimodalGates, softmax
from model.config import MAGANConfig, WeaklySupervisedConfig
from model.localization import GatedLocalization
from model.magan import MAGAN
from model.network import Decisions, LossTerms
from model.temporal_relations import Relations
from model.variants import apply_variants


class WeaklySupervisedOutputs(NamedTuple):
    """K counts the events and background, the last class.

    A variant with one of the two gates, or scores, has that one alone, and None if it has neither.
    """

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), softmax output
    gate: Tensor | None  # (b, t), unimodal gate times multimodal gate
    gate_score: Tensor | None  # (b, K), unimodal score times multimodal score


class WeaklySupervisedUnimodalGates(UnimodalGates):
    """u = sigmoid(Linear of a query), visual for u_a and audio for u_v, as published; the gate is sigmoid(u_a u_v)."""

    reads_picture, reads_sound = "audio_gate", "visual_gate"

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        u_a = torch.sigmoid(self.audio_gate(relations.visual_query))  # (b, t, 1)
        u_v = torch.sigmoid(self.visual_gate(relations.audio_query))  # (b, t, 1)
        visual_score, audio_score = self.gated_scores(relations.visual_query, relations.audio_query, u_a, u_v)
        return torch.sigmoid(u_a * u_v).squeeze(-1), visual_score * audio_score


class WeaklySupervisedMAGAN(MAGAN):
    """MAGAN for video labels: ``model(visual, audio)`` returns ``WeaklySupervisedOutputs``."""

    setting = "weakly"
    outputs: type[NamedTuple] = WeaklySupervisedOutputs  # of forward
    Config = WeaklySupervisedConfig
    published_values: ClassVar = {"config": "weak.json", "scope": "batch", "precision": "fp64", "test_batch_size": 16}

    def __init__(self, config: MAGANConfig) -> None:
        classes = config.num_events + 1
        super().__init__(config, WeaklySupervisedUnimodalGates(config, classes), classes, GatedLocalization)
        self.event_term, self.gate_term = published_event_term, published_gate_term
        self.event_logit = published_event_logit
        apply_variants(self)

    def localize(self, interactions: Interactions) -> WeaklySupervisedOutputs:
        is_event, event = self.localization(interactions.fused)
        um_logits, mm_logits = interactions.um_logits, interactions.mm_logits
        outputs = self.make_outputs(
            is_event=is_event,
            event=softmax(event),
            event_logits=event,
            gate=joined(operator.mul, interactions.um_gate, interactions.mm_gate),
            gate_score=joined(operator.mul, softmax(um_logits), softmax(mm_logits)),
            gate_logits=joined(operator.add, um_logits, mm_logits),
        )
        return outputs._replace(is_event=self.event_logit(self, outputs, interactions.fused))

    def loss(self, outputs: WeaklySupervisedOutputs, labels: Tensor) -> LossTerms:
        """MultiLabelSoftMargin(event) + MultiLabelSoftMargin(gate_score), for video labels (b, K), background last.

        As published, both scores are softmax outputs, which the loss squashes once more. This loss is the mean binary
        cross entropy on logits, which PyTorch computes in fewer kernels.

        Returns:
            The scalar terms by name, ``loss``, their sum, first.
        """
        terms = {"event": self.event_term(outputs, labels)}
        if outputs.gate_score is not None:
            terms["gate"] = self.gate_term(outputs, labels)
        return {"loss": sum(terms.values()), **terms}

    def class_score(self, outputs: WeaklySupervisedOutputs) -> Tensor:
        """(b, K), the sum of the scores that there are."""
        return joined(operator.add, outputs.event, outputs.gate_score)

    def decisions(self, outputs: WeaklySupervisedOutputs) -> Decisions:
        """The probability of an event in each segment, and the scores of the video (b, K), normalised to a sum of 1."""
        scores = (score.double() for score in (outputs.event, outputs.gate_score) if score is not None)
        score = joined(operator.add, *scores)
        return Decisions(torch.sigmoid(outputs.is_event.double()), score / score.sum(dim=-1, keepdim=True))


def published_event_term(outputs: WeaklySupervisedOutputs, labels: Tensor) -> Tensor:
    """Of the video's score, a softmax output, which the loss squashes once more."""
    return F.binary_cross_entropy_with_logits(outputs.event, labels)


def published_gate_term(outputs: WeaklySupervisedOutputs, labels: Tensor) -> Tensor:
    """Of the score by the gates, a product of softmax outputs, which the loss squashes once more."""
    return F.binary_cross_entropy_with_logits(outputs.gate_score, labels)


def published_event_logit(model: nn.Module, outputs: WeaklySupervisedOutputs, fused: Tensor) -> Tensor:
    """What decides whether a segment is an event: ``is_event``, (b, t)."""
    return outputs.is_event


def joined(join: Callable[[Tensor, Tensor], Tensor], *parts: Tensor | None) -> Tensor | None:
    """Join those of the parts that the network has; None if it has none of them."""
    there = [part for part in parts if part is not None]
    return reduce(join, there) if there else None
