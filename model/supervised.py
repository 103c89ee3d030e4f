"""The fully supervised setting: a label for each segment."""

from typing import NamedTuple

import torch
from torch import Tensor

from model.co_interaction import Interactions, UnimodalGates
from model.config import MAGANConfig
from model.losses import LossTerms, supervised_loss
from model.magan import MAGAN
from model.temporal_relations import Relations


class SupervisedOutputs(NamedTuple):
    """K is the number of events; background is not scored, it is where ``is_event`` is low."""

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), logits
    um_gate: Tensor  # (b, t), in (0, 2)
    um_score: Tensor  # (b, K), softmax output
    mm_gate: Tensor  # (b, t), in (0, 1)
    mm_score: Tensor  # (b, K), softmax output


class SupervisedUnimodalGates(UnimodalGates):
    """u = sigmoid(Linear E) per modality; their sum is the gate, and they weigh visual' and audio'."""

    reads_picture, reads_sound = "visual_gate", "audio_gate"

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        u_a = torch.sigmoid(self.audio_gate(relations.audio_encoded))  # (b, t, 1)
        u_v = torch.sigmoid(self.visual_gate(relations.visual_encoded))  # (b, t, 1)
        visual_score, audio_score = self.gated_scores(visual, audio, u_a, u_v)
        return (u_a + u_v).squeeze(-1), torch.softmax(visual_score + audio_score, dim=-1)


class SupervisedMAGAN(MAGAN):
    """MAGAN for segment labels: ``model(visual, audio)`` returns ``SupervisedOutputs``."""

    setting = "supervised"

    def __init__(self, config: MAGANConfig) -> None:
        gates = SupervisedUnimodalGates(config.d_model, config.num_events, config.alpha, config.top_segments)
        super().__init__(config, gates, num_classes=config.num_events)

    def localize(self, interactions: Interactions) -> SupervisedOutputs:
        is_event, event = self.localization(interactions.fused)
        return SupervisedOutputs(
            is_event,
            event,
            interactions.um_gate,
            interactions.um_score,
            interactions.mm_gate,
            interactions.mm_score,
        )

    def loss(self, outputs: SupervisedOutputs, labels: Tensor) -> LossTerms:
        """The training loss for segment labels (b, t, K + 1)."""
        return supervised_loss(outputs, labels)

    def decide(self, outputs: SupervisedOutputs) -> Tensor:
        """The class of each segment (b, t): the video's best event where is_event is likely enough, else background."""
        is_event = torch.sigmoid(outputs.is_event.double()) > self.config.event_threshold
        event = outputs.event.argmax(dim=-1, keepdim=True)
        return torch.where(is_event, event, self.config.num_events)

    def class_probability(self, outputs: SupervisedOutputs) -> Tensor:
        """(b, K), float64: how likely each event is to be the video's."""
        return torch.softmax(outputs.event.double(), dim=-1)

    def hits(self, outputs: SupervisedOutputs, labels: Tensor) -> Tensor:
        """Which segments (b, t) are decided as their training labels (b, t, K + 1) say."""
        return self.decide(outputs) == labels.argmax(dim=-1)
