"""CMGCI with unimodal gates that are wired as in the supervised setting."""

import torch
from torch import Tensor, nn

from model.co_interaction import UnimodalGates
from model.temporal_relations import Relations


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
