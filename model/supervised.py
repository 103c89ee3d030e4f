"""The fully supervised setting: a label for each segment."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from model.co_interaction import Interactions, UnimodalGates, softmax
from model.config import MAGANConfig, SupervisedConfig
from model.localization import Localization
from model.magan import MAGAN
from model.network import Decisions, LossTerms
from model.temporal_relations import Relations

HIGHEST = {"um": 2, "mm": 1}  # that a gate can be


class SupervisedOutputs(NamedTuple):
    """K is the number of events. Background has no score: a segment is background if ``is_event`` is low.

    A variant without a gate or a score has None in its place.
    """

    is_event: Tensor  # (b, t), logits
    event: Tensor  # (b, K), logits
    um_gate: Tensor | None  # (b, t), in (0, 2)
    um_score: Tensor | None  # (b, K), softmax output
    mm_gate: Tensor | None  # (b, t), in (0, 1)
    mm_score: Tensor | None  # (b, K), softmax output
    um_logits: Tensor | None  # (b, K), of um_score
    mm_logits: Tensor | None  # (b, K), of mm_score


class SupervisedUnimodalGates(UnimodalGates):
    """u = sigmoid(Linear E) per modality; their sum is the gate, and they weigh visual' and audio'."""

    reads_picture, reads_sound = "visual_gate", "audio_gate"

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        encoded = relations.audio_encoded, relations.visual_encoded
        u_a, u_v, visual_score, audio_score = self.gates_and_scores(*encoded, visual, audio)
        return u_a + u_v, visual_score + audio_score


class SupervisedMAGAN(MAGAN):
    """MAGAN for segment labels: ``model(visual, audio)`` returns ``SupervisedOutputs``."""

    setting = "supervised"
    Config = SupervisedConfig
    event_threshold = 0.7
    published_config = "main.json"

    def __init__(self, config: MAGANConfig) -> None:
        gates = SupervisedUnimodalGates(config, config.num_events)
        super().__init__(config, gates, config.num_events, Localization)

    def localize(self, interactions: Interactions) -> SupervisedOutputs:
        is_event, event = self.localization(interactions.fused)
        return SupervisedOutputs(
            is_event=is_event,
            event=event,
            um_gate=interactions.um_gate,
            um_score=softmax(interactions.um_logits),
            um_logits=interactions.um_logits,
            mm_gate=interactions.mm_gate,
            mm_score=softmax(interactions.mm_logits),
            mm_logits=interactions.mm_logits,
        )

    def loss(self, outputs: SupervisedOutputs, labels: Tensor) -> LossTerms:
        """Localization loss and event-aware gate loss, for segment labels (b, t, K + 1), one-hot, background last.

        BCE(is_event) + CE(event) + 1/2 [BCE(um_gate) + BCE(mm_gate)] + 1/2 [CE(um_score) + CE(mm_score)]. As published,
        some outputs are squashed twice: gates that are sigmoid outputs go into a loss on logits, and scores that are
        softmax outputs into one that applies softmax.

        Returns:
            The scalar terms by name, ``loss``, their sum, first.
        """
        events = labels[..., :-1]
        segment_has_event = events.amax(dim=-1)  # y: (b, t)
        # k: the largest event index over the segments; 0 where no segment has an event, as published.
        index = torch.arange(events.shape[-1], device=labels.device)
        video_event = (index * (events.amax(dim=1) > 0)).amax(dim=-1)  # (b,)

        terms = {
            "is_event": F.binary_cross_entropy_with_logits(outputs.is_event, segment_has_event),
            "event": F.cross_entropy(outputs.event, video_event),
        }
        loss = terms["is_event"] + terms["event"]
        for gate in ("um", "mm"):
            # A gate that no score goes with is not taught: it weighs the modalities, and no more.
            if getattr(outputs, f"{gate}_score") is not None:
                terms[f"{gate}_gate"] = self.gate_term(outputs, gate, segment_has_event)
                terms[f"{gate}_score"] = self.score_term(outputs, gate, video_event)
                loss = loss.add(terms[f"{gate}_gate"] + terms[f"{gate}_score"], alpha=0.5)
        return {"loss": loss, **terms}

    def gate_term(self, outputs: SupervisedOutputs, gate: str, segment_has_event: Tensor) -> Tensor:
        """Of the gate ``um`` or ``mm``: a sigmoid output, which a loss on logits squashes once more."""
        value = getattr(outputs, f"{gate}_gate")
        if "mend-gate-terms" not in self.config.variant:
            return F.binary_cross_entropy_with_logits(value, segment_has_event)
        probability = value / HIGHEST[gate]
        with torch.autocast(probability.device.type, enabled=False):  # which refuses this loss
            return F.binary_cross_entropy(probability.to(segment_has_event.dtype), segment_has_event)

    def score_term(self, outputs: SupervisedOutputs, gate: str, video_event: Tensor) -> Tensor:
        """Of the gate ``um`` or ``mm``: its score, a softmax output, which the loss squashes once more."""
        values = "logits" if "mend-score-terms" in self.config.variant else "score"
        return F.cross_entropy(getattr(outputs, f"{gate}_{values}"), video_event)

    def decisions(self, outputs: SupervisedOutputs) -> Decisions:
        """The probability of an event in each segment, and of each event (b, K) in the video."""
        return Decisions(torch.sigmoid(outputs.is_event.double()), torch.softmax(outputs.event.double(), dim=-1))
