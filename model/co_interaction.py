"""Cross-modal gated co-interaction (CMGCI): the modalities interact, and gates weight each of them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import MAGANConfig
from model.layers.attention import ResidualAttention
from model.layers.linear import Linear
from model.layers.streams import side_by_side
from model.temporal_relations import Relations


class Interactions(NamedTuple):
    """Input of localization; K is the number of classes that the setting scores. A variant may lack a gate or score."""

    fused: Tensor  # (b, t, d_model), both modalities weighed by the multimodal gate
    um_gate: Tensor | None  # (b, t), unimodal
    um_logits: Tensor | None  # (b, K), unimodal
    mm_gate: Tensor | None  # (b, t), multimodal, in (0, 1)
    mm_logits: Tensor | None  # (b, K), multimodal


class Interaction(nn.Module):
    """I(x, y) = LN(g + Dropout(MHA(g, [y; x], [y; x]))) with g = x * y, (b, t, d_model) each."""

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        dropouts = (config.interaction_attention_dropout, config.interaction_dropout)
        self.attention = ResidualAttention(config.d_model, config.num_heads, *dropouts)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.attention(x * y, torch.cat([y, x], dim=1))


class FirstAlone(nn.Module):
    """x, in place of an interaction."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x


class MultimodalGate(nn.Module):
    """fused = m * visual' + (1 - m) * audio' with m = sigmoid(Linear(ReLU(Linear [visual'; audio'])))."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.squeeze = Linear(2 * d_model, d_model)
        self.gate = Linear(d_model, 1)

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Visual' and audio', (b, t, d_model) each, to fused (b, t, d_model) and m (b, t)."""
        m = torch.sigmoid(self.gate(F.relu(self.squeeze(torch.cat([visual, audio], dim=-1)))))  # (b, t, 1)
        return torch.addcmul(audio, m, visual - audio), m.squeeze(-1)


class MeanOfModalities(nn.Module):
    """fused = (visual' + audio') / 2, in place of the multimodal gate, which is None."""

    def forward(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, None]:
        return (visual + audio) / 2, None


class VideoScore(Linear):
    """Scores of a video: per class, the mean of its ``top_segments`` highest segment scores, or of all it has."""

    def __init__(self, config: MAGANConfig, num_classes: int) -> None:
        super().__init__(config.d_model, num_classes)
        self.top_segments = config.top_segments

    def forward(self, x: Tensor) -> Tensor:
        """(b, t, d_model) to (b, K)."""
        return super().forward(x).topk(min(self.top_segments, x.shape[1]), dim=1).values.mean(dim=1)


class UnimodalGates(nn.Module):
    """The layers of the unimodal gates; supervised.py and weakly.py wire them."""

    reads_picture: str  # the name of the gate that reads the visual features
    reads_sound: str  # the name of the one that reads the audio features

    def __init__(self, config: MAGANConfig, num_classes: int) -> None:
        super().__init__()
        self.alpha = config.alpha
        self.audio_gate = Linear(config.d_model, 1)
        self.visual_gate = Linear(config.d_model, 1)
        self.audio_events = VideoScore(config, num_classes)
        self.visual_events = VideoScore(config, num_classes)

    def gates_and_scores(
        self, for_audio_gate: Tensor, for_visual_gate: Tensor, visual: Tensor, audio: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """u = sigmoid(Linear) of the features for each gate, and the scores of visual and audio; all (b, t, d_model).

        Each modality is weighed by the other one's gate before it is scored.

        Returns:
            u_a and u_v, (b, t) each, and the logits of the visual and the audio score, (b, K) each.
        """
        u_a = torch.sigmoid(self.audio_gate(for_audio_gate))  # (b, t, 1)
        u_v = torch.sigmoid(self.visual_gate(for_visual_gate))  # (b, t, 1)
        visual = (1 - self.alpha + self.alpha * u_a) * visual
        audio = (1 - self.alpha + self.alpha * u_v) * audio
        return u_a.squeeze(-1), u_v.squeeze(-1), self.visual_events(visual), self.audio_events(audio)

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """The gate (b, t) and the logits of the score (b, K) of a setting."""
        raise NotImplementedError


class NoGates(nn.Module):
    """No unimodal gate and no score of one."""

    def forward(self, relations: Relations, visual: Tensor, audio: Tensor) -> tuple[None, None]:
        return None, None


class CoInteraction(nn.Module):
    """CMGCI: two interactions, the setting's unimodal gates and the multimodal gate."""

    def __init__(self, config: MAGANConfig, unimodal_gates: UnimodalGates, num_classes: int) -> None:
        super().__init__()
        # Without the gate loss, no term is on the gates; the multimodal one stays, which also fuses.
        self.visual_interaction = config.choose(Interaction(config), {"no-interaction": FirstAlone()})
        self.audio_interaction = config.choose(Interaction(config), {"no-interaction": FirstAlone()})
        self.unimodal_gates = config.choose(unimodal_gates, {"no-unimodal-gates": NoGates(), "no-gate-loss": NoGates()})
        self.multimodal_gate = config.choose(MultimodalGate(config.d_model), {"no-multimodal-gate": MeanOfModalities()})
        self.multimodal_events = config.choose(
            VideoScore(config, num_classes), {"no-multimodal-gate": None, "no-gate-loss": None}
        )

    def forward(self, relations: Relations) -> Interactions:
        visual = self.visual_interaction(relations.visual_query, relations.audio_query)  # visual': (b, t, d_model)
        audio = self.audio_interaction(relations.audio_query, visual)  # audio', which reads visual': (b, t, d_model)

        (um_gate, um_logits), (fused, mm_gate, mm_logits) = side_by_side(
            self.unimodal_gates, [relations, visual, audio], self.fuse, [visual, audio]
        )
        return Interactions(fused, um_gate, um_logits, mm_gate, mm_logits)

    def fuse(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both modalities (b, t, d_model) to the fused features, the multimodal gate (b, t) and its score (b, K)."""
        fused, gate = self.multimodal_gate(visual, audio)
        return fused, gate, self.multimodal_events(fused) if self.multimodal_events is not None else None


def softmax(logits: Tensor | None) -> Tensor | None:
    """The score (b, K) of logits; None for those that a variant has not."""
    return None if logits is None else torch.softmax(logits, dim=-1)
