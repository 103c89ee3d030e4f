"""CMGCI without one of its parts, or with unimodal gates that are wired otherwise."""

import torch
from torch import Tensor, nn

from model.co_interaction import UnimodalGates
from model.temporal_relations import Relations


class Query(nn.Module):
    """In place of an interaction: its first input."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class NoUnimodalGates(nn.Module):
    """Neither gate nor score."""

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[None, None]:
        return None, None


class MeanOfModalities(nn.Module):
    """fused = (visual' + audio') / 2, without a gate."""

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, None]:
        return (visual + audio) / 2, None


class NoScore(nn.Module):
    """In place of the multimodal score."""

    def forward(self, fused: Tensor) -> None:
        return None


class MendedUnimodalGates(UnimodalGates):
    """u_a = sigmoid(Linear E_a), u_v = sigmoid(Linear E_v) weigh visual' and audio'; the gate is sigmoid(u_a u_v)."""

    reads_picture, reads_sound = "visual_gate", "audio_gate"

    def __init__(self, published: UnimodalGates) -> None:
        nn.Module.__init__(self)
        self.alpha = published.alpha
        self.audio_gate, self.visual_gate = published.audio_gate, published.visual_gate
        self.audio_events, self.visual_events = published.audio_events, published.visual_events

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        u_a = torch.sigmoid(self.audio_gate(relations.audio_encoded))  # (b, t, 1)
        u_v = torch.sigmoid(self.visual_gate(relations.visual_encoded))  # (b, t, 1)
        visual_score, audio_score = self.gated_scores(visual, audio, u_a, u_v)
        return torch.sigmoid(u_a * u_v).squeeze(-1), visual_score * audio_score


def leave_out_interaction(model: nn.Module) -> None:
    """visual' = visual_q, audio' = audio_q."""
    model.co_interaction.visual_interaction = Query()
    model.co_interaction.audio_interaction = Query()


def leave_out_unimodal_gates(model: nn.Module) -> None:
    """No um_gate and no um_score."""
    model.co_interaction.unimodal_gates = NoUnimodalGates()


def leave_out_multimodal_gate(model: nn.Module) -> None:
    """The modalities are fused by their mean; no mm_gate and no mm_score."""
    model.co_interaction.multimodal_gate = MeanOfModalities()
    model.co_interaction.multimodal_events = NoScore()


def leave_out_gate_loss(model: nn.Module) -> None:
    """No score, so that no loss term is on the gates; of the gates the multimodal one stays, which also fuses."""
    model.co_interaction.unimodal_gates = NoUnimodalGates()
    model.co_interaction.multimodal_events = NoScore()


def mend_unimodal_gates(model: nn.Module) -> None:
    """Wire the unimodal gates as in the supervised setting."""
    model.co_interaction.unimodal_gates = MendedUnimodalGates(model.co_interaction.unimodal_gates)
