"""Cross-modal gated co-attention (CMGCA): each modality selects what matters in the other.

Everything here is per segment: n = b * t segments, r regions, visual width 512, audio width 128. Three exact savings
keep the large (n, r, 512) tensors few:

- p and q are ReLU outputs and 1 + c is positive, so mean and max over regions commute with scaling by them;
- the layers that read the same features are one product, its rows split afterwards;
- Linear(h * g) to one number is the product of h with (weight * g), and sum(m * v * (1 + c)) is sum(m * v) * (1 + c).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import MAGANConfig
from model.layers.linear import Linear
from model.layers.pooling import mean_and_max
from model.layers.streams import side_by_side


class ChannelAttention(nn.Module):
    """1 + c, where c = sigmoid(Linear(ReLU(Linear s))) and s = [mean; max] over regions of p * q."""

    def __init__(self, visual_dim: int, hidden: int) -> None:
        super().__init__()
        self.squeeze = Linear(2 * visual_dim, hidden)
        self.expand = Linear(hidden, visual_dim)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """``p`` (n, r, 512) from the regions, ``q`` (n, 512) from the sound, both >= 0; returns (n, 512) in (1, 2)."""
        s = mean_and_max(p) * q.unsqueeze(1)  # (n, 2, 512)
        return 1 + torch.sigmoid(self.expand(F.relu(self.squeeze(s.flatten(1)))))


class SpatialAttention(nn.Module):
    """Weights over regions: softmax(tanh(Linear(h * g))), (n, r, hidden) and (n, hidden) to (n, r)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = Linear(hidden, 1)

    def forward(self, h: Tensor, g: Tensor) -> Tensor:
        score = torch.bmm(h, (self.score.weight * g).unsqueeze(-1)).squeeze(-1) + self.score.bias  # (n, r)
        return torch.softmax(torch.tanh(score), dim=-1)


class AudioToVisual(nn.Module):
    """The audio-to-visual branch: the sound weights the channels and regions of the picture."""

    def __init__(self, visual_dim: int, hidden: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(visual_dim, hidden)
        self.pooled_guide = Linear(2 * visual_dim, hidden)
        self.attended_regions = Linear(visual_dim, hidden)
        self.visual_attention = SpatialAttention(hidden)
        self.audio_guided_attention = SpatialAttention(hidden)
        self.beta = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, v: Tensor, p: Tensor, q: Tensor, regions: Tensor, audio_guide: Tensor) -> Tensor:
        """Regions v (n, r, 512) to one visual feature per segment (n, 512).

        ``p`` (n, r, 512) and ``q`` (n, 512) feed the channel attention, ``regions`` (n, r, hidden) the visual spatial
        attention, which reads v before its channels are weighted, and ``audio_guide`` (n, hidden) the audio-guided one.
        """
        channels = self.channel_attention(p, q)  # 1 + c: (n, 512)
        attended = v * channels.unsqueeze(1)  # (n, r, 512)

        pooled = mean_and_max(v) * channels.unsqueeze(1)  # (n, 2, 512)
        visual_guide = F.relu(self.pooled_guide(pooled.flatten(1)))
        m1 = self.visual_attention(regions, visual_guide)  # (n, r)
        m2 = self.audio_guided_attention(F.relu(self.attended_regions(attended)), audio_guide)  # (n, r)

        f = torch.bmm(torch.stack([m1, m2], dim=1), v) * channels.unsqueeze(1)  # f1 and f2: (n, 2, 512)
        gates = self.beta.unsqueeze(-1) * torch.sigmoid(f.flip(1))  # of f1 by f2, and of f2 by f1
        return torch.addcmul(f, gates, f).sum(dim=1)


class VisualToAudio(nn.Module):
    """The visual-to-audio branch: the picture weights the channels of the sound.

    A segment has one sound, so the branch has no spatial attention: over its single position it would be 1.
    """

    def __init__(self, visual_dim: int, hidden: int) -> None:
        super().__init__()
        self.channel_attention = ChannelAttention(visual_dim, hidden)
        self.beta = nn.Parameter(torch.full((2,), 0.5))

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """``p`` (n, r, 512) from the regions and ``q`` (n, 512) from the sound, to one audio feature (n, 512)."""
        attended = q * self.channel_attention(p, q)
        return attended * (2 + self.beta.sum() * torch.sigmoid(attended))


class CoAttention(nn.Module):
    """CMGCA, both branches."""

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        visual_dim, hidden = config.visual_dim, config.d_model
        # Of a2v_p, v2a_p and regions; and of a2v_q, v2a_q and audio_guide. A variant without one has width 0 there.
        self.visual_widths = self.audio_widths = (visual_dim, visual_dim, hidden)
        # One product for all layers that read v, and one for a: channel attention of both branches, spatial attention.
        # The initialisation of a Linear depends on its input width alone, so each part is drawn as a layer of its own.
        self.visual_projection = Linear(visual_dim, sum(self.visual_widths))
        self.audio_projection = Linear(config.audio_dim, sum(self.audio_widths))
        self.audio_to_visual = AudioToVisual(visual_dim, hidden)
        self.visual_to_audio = VisualToAudio(visual_dim, hidden)

    def forward(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Regions ``v`` (n, r, 512) and sound ``a`` (n, 128) to co-attended visual and audio, (n, 512) each."""
        a2v_p, v2a_p, regions = F.relu(self.visual_projection(v)).split(self.visual_widths, dim=-1)
        a2v_q, v2a_q, audio_guide = F.relu(self.audio_projection(a)).split(self.audio_widths, dim=-1)
        to_visual = [v, a2v_p, a2v_q, regions, audio_guide]
        return side_by_side(self.audio_to_visual, to_visual, self.visual_to_audio, [v2a_p, v2a_q])
