"""The weakly-supervised setting: a label for each video."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from configs import MAGANConfig
from model.co_interaction import Interactions, UnimodalGates
from model.magan import MAGAN, LossTerms
from model.temporal_relations import Relations


class WeaklySupervisedOutputs(NamedTuple):
    """K counts the events and background, the last class."""

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), softmax output
    gate: Tensor  # (b, t), unimodal gate times multimodal gate
    gate_score: Tensor  # (b, K), unimodal score times multimodal score


class WeaklySupervisedUnimodalGates(UnimodalGates):
    """u = sigmoid(Linear of a query), visual for u_a and audio for u_v, as published; the gate is sigmoid(u_a u_v)."""

    reads_picture, reads_sound = "audio_gate", "visual_gate"

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        u_a = torch.sigmoid(self.audio_gate(relations.visual_query))  # (b, t, 1)
        u_v = torch.sigmoid(self.visual_gate(relations.audio_query))  # (b, t, 1)
        visual_score, audio_score = self.gated_scores(relations.visual_query, relations.audio_query, u_a, u_v)
        return torch.sigmoid(u_a * u_v).squeeze(-1), torch.softmax(visual_score * audio_score, dim=-1)


class WeaklySupervisedMAGAN(MAGAN):
    """MAGAN for video labels: ``model(visual, audio)`` returns ``WeaklySupervisedOutputs``."""

    setting = "weakly"

    def __init__(self, config: MAGANConfig) -> None:
        classes = config.num_events + 1
        super().__init__(config, WeaklySupervisedUnimodalGates(config, classes), num_classes=classes)

    def localize(self, interactions: Interactions) -> WeaklySupervisedOutputs:
        is_event, raw = self.localization(interactions.fused)
        gated = torch.sigmoid(is_event).unsqueeze(-1) * raw.unsqueeze(1)  # (b, t, K)
        return WeaklySupervisedOutputs(
            is_event,
            event=torch.softmax(gated.max(dim=1).values, dim=-1),
            gate=interactions.um_gate * interactions.mm_gate,
            gate_score=interactions.um_score * interactions.mm_score,
        )

    def loss(self, outputs: WeaklySupervisedOutputs, labels: Tensor) -> LossTerms:
        """MultiLabelSoftMargin(event) + MultiLabelSoftMargin(gate_score), for video labels (b, K), background last.

        As published, both scores are softmax outputs, which the loss squashes once more.

        Returns:
            The scalar terms by name, ``loss``, their sum, first.
        """
        terms = {
            "event": F.multilabel_soft_margin_loss(outputs.event, labels),
            "gate": F.multilabel_soft_margin_loss(outputs.gate_score, labels),
        }
        return {"loss": terms["event"] + terms["gate"], **terms}

    def decide(self, outputs: WeaklySupervisedOutputs) -> Tensor:
        """The class of each segment (b, t): the video's best class where is_event is high enough, else background."""
        is_event = torch.sigmoid(outputs.is_event.double()) > self.config.event_threshold
        event = self._best_class(outputs).unsqueeze(-1)
        return torch.where(is_event, event, self.config.num_events)

    def class_probability(self, outputs: WeaklySupervisedOutputs) -> Tensor:
        """(b, K), float64: the scores that the decision compares, normalised to a sum of 1."""
        score = outputs.event.double() + outputs.gate_score.double()
        return score / score.sum(dim=-1, keepdim=True)

    def correct(self, outputs: WeaklySupervisedOutputs, labels: Tensor) -> Tensor:
        """Whether the best class of each video (b,) is its training label (b, K); segments have no labels."""
        return self._best_class(outputs) == labels.argmax(dim=-1)

    @staticmethod
    def _best_class(outputs: WeaklySupervisedOutputs) -> Tensor:
        return (outputs.event + outputs.gate_score).argmax(dim=-1)
