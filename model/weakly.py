"""The weakly-supervised setting: a label for each video."""

import operator
from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model.co_interaction import Interactions, UnimodalGates, softmax
from model.config import MAGANConfig, WeaklySupervisedConfig
from model.localization import GatedLocalization, WeightedLocalization
from model.magan import MAGAN
from model.network import Decisions, LossTerms
from model.temporal_relations import Relations


class WeaklySupervisedOutputs(NamedTuple):
    """K counts the events and background, the last class.

    A variant with one of the two gates, or scores, has that one alone, and None if it has neither.
    """

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), softmax output
    gate: Tensor | None  # (b, t), unimodal gate times multimodal gate
    gate_score: Tensor | None  # (b, K), unimodal score times multimodal score
    event_logits: Tensor  # (b, K), of event
    gate_logits: Tensor | None  # (b, K), the sum of unimodal and multimodal logits


class WeaklySupervisedUnimodalGates(UnimodalGates):
    """u = sigmoid(Linear of a query), visual for u_a and audio for u_v, as published; the gate is sigmoid(u_a u_v)."""

    reads_picture, reads_sound = "audio_gate", "visual_gate"

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        queries = relations.visual_query, relations.audio_query
        u_a, u_v, visual_score, audio_score = self.gates_and_scores(*queries, *queries)
        return torch.sigmoid(u_a * u_v), visual_score * audio_score


class MendedUnimodalGates(UnimodalGates):
    """u_a = sigmoid(Linear E_a), u_v = sigmoid(Linear E_v) weigh visual' and audio'; the gate is sigmoid(u_a u_v)."""

    reads_picture, reads_sound = "visual_gate", "audio_gate"

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        encoded = relations.audio_encoded, relations.visual_encoded
        u_a, u_v, visual_score, audio_score = self.gates_and_scores(*encoded, visual, audio)
        return torch.sigmoid(u_a * u_v), visual_score * audio_score


class WeaklySupervisedMAGAN(MAGAN):
    """MAGAN for video labels: ``model(visual, audio)`` returns ``WeaklySupervisedOutputs``."""

    setting = "weakly"
    Config = WeaklySupervisedConfig
    published_config = "weak.json"

    def __init__(self, config: MAGANConfig) -> None:
        classes = config.num_events + 1
        gates = MendedUnimodalGates if "mend-gates" in config.variant else WeaklySupervisedUnimodalGates
        localization = WeightedLocalization if "mend-pooling" in config.variant else GatedLocalization
        super().__init__(config, gates(config, classes), classes, localization)

    def localize(self, interactions: Interactions) -> WeaklySupervisedOutputs:
        is_event, event = self.localization(interactions.fused)
        um_logits, mm_logits = interactions.um_logits, interactions.mm_logits
        outputs = WeaklySupervisedOutputs(
            is_event=is_event,
            event=softmax(event),
            gate=joined(operator.mul, interactions.um_gate, interactions.mm_gate),
            gate_score=joined(operator.mul, softmax(um_logits), softmax(mm_logits)),
            event_logits=event,
            gate_logits=joined(operator.add, um_logits, mm_logits),
        )
        if "mend-decision" in self.config.variant:
            outputs = outputs._replace(is_event=self.logit_of_best_event(outputs, interactions.fused))
        return outputs

    def logit_of_best_event(self, outputs: WeaklySupervisedOutputs, fused: Tensor) -> Tensor:
        """Linear(fused_t) of the video's best event, less that of background: (b, t, d_model) to logits (b, t)."""
        scores = self.localization.event(fused)  # (b, t, K), background last
        best = joined(operator.add, outputs.event, outputs.gate_score)[:, :-1].argmax(dim=-1)  # (b,)
        of_best = scores.gather(-1, best[:, None, None].expand(-1, scores.shape[1], 1)).squeeze(-1)
        return of_best - scores[..., -1]

    def loss(self, outputs: WeaklySupervisedOutputs, labels: Tensor) -> LossTerms:
        """MultiLabelSoftMargin(event) + MultiLabelSoftMargin(gate_score), for video labels (b, K), background last.

        As published, both scores are softmax outputs, which the loss squashes once more. This loss is the mean binary
        cross entropy on logits, which PyTorch computes in fewer kernels.

        Returns:
            The scalar terms by name, ``loss``, their sum, first.
        """
        if "mend-loss" in self.config.variant:  # the gates' logits are those of log um_score + log mm_score
            scores, loss, labels = (outputs.event_logits, outputs.gate_logits), F.cross_entropy, labels.argmax(dim=-1)
        else:
            scores, loss = (outputs.event, outputs.gate_score), F.binary_cross_entropy_with_logits
        terms = {
            name: loss(each, labels) for name, each in zip(("event", "gate"), scores, strict=True) if each is not None
        }
        return {"loss": sum(terms.values()), **terms}

    def decisions(self, outputs: WeaklySupervisedOutputs) -> Decisions:
        """The probability of an event in each segment, and the scores of the video (b, K), normalised to a sum of 1."""
        scores = (score.double() for score in (outputs.event, outputs.gate_score) if score is not None)
        score = joined(operator.add, *scores)
        return Decisions(torch.sigmoid(outputs.is_event.double()), score / score.sum(dim=-1, keepdim=True))


def joined(join: Callable[[Tensor, Tensor], Tensor], *parts: Tensor | None) -> Tensor | None:
    """Join those of the parts that the network has; None if it has none of them."""
    there = [part for part in parts if part is not None]
    return reduce(join, there) if there else None
