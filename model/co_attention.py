"""Cross-modal gated co-attention (CMGCA): each modality selects what matters in the other.

Everything here is per segment: n = b * t segments, r regions, visual width 512, audio width 128. Three exact savings
keep the large (n, r, 512) tensors few:

- p and q are ReLU outputs and 1 + c is positive, so mean and max over regions commute with scaling by them;
- the layers that read the same features are one product, its rows split afterwards;
- Linear(h * g) to one number is the product of h with (weight * g), and sum(m * v * (1 + c)) is sum(m * v) * (1 + c).
"""

from collections.abc import Collection, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.config import MAGANConfig
from model.layers.linear import Linear
from model.layers.pooling import mean_and_max
from model.layers.streams import side_by_side


class Projection(Linear):
    """Linear and ReLU of several layers that read the same features, as one product.

    The initialisation of a Linear depends on its input width alone, so each part is drawn as a layer of its own. A part
    that a variant does not need has no rows; what reads it gets a tensor of width 0.
    """

    def __init__(self, dim: int, widths: Mapping[str, int], unneeded: Collection[str]) -> None:
        super().__init__(dim, sum(widths.values()))
        self.widths = [0 if name in unneeded else width for name, width in widths.items()]
        self.out_features = sum(self.widths)
        for name in ("weight", "bias"):
            rows = getattr(self, name).detach().split(list(widths.values()))
            kept = [each for each, width in zip(rows, self.widths, strict=True) if width]
            setattr(self, name, nn.Parameter(torch.cat(kept)) if kept else None)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(..., dim) to a tensor (..., width) of each part."""
        if self.weight is None:
            return (x[..., :0],) * len(self.widths)
        return F.relu(super().forward(x)).split(self.widths, dim=-1)


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


class EvenChannels(nn.Module):
    """1 + c = 1, in place of channel attention: ``p`` (n, r, any) and ``q`` (n, any) to (n, visual_dim)."""

    def __init__(self, visual_dim: int) -> None:
        super().__init__()
        self.visual_dim = visual_dim

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        return q.new_ones(len(q), self.visual_dim)


def channel_attention(config: MAGANConfig) -> nn.Module:
    """The channel attention of a branch."""
    attention = ChannelAttention(config.visual_dim, config.d_model)
    return config.choose(attention, {"no-channel-attention": EvenChannels(config.visual_dim)})


def add_gates(branch: nn.Module, config: MAGANConfig, *without: str) -> None:
    """Give a branch its beta, (2,): a parameter, or zeros in the variants ``without`` gates."""
    if set(without) & set(config.variant):
        branch.register_buffer("beta", torch.zeros(2), persistent=False)
    else:
        branch.beta = nn.Parameter(torch.full((2,), 0.5))


class SpatialAttention(nn.Module):
    """Weights over regions: softmax(tanh(Linear(h * g))), (n, r, hidden) and (n, hidden) to (n, r)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.score = Linear(hidden, 1)

    def forward(self, h: Tensor, g: Tensor) -> Tensor:
        score = torch.bmm(h, (self.score.weight * g).unsqueeze(-1)).squeeze(-1) + self.score.bias  # (n, r)
        return torch.softmax(torch.tanh(score), dim=-1)


class SameWeights(nn.Module):
    """The weight ``scale`` / r of each region, in place of spatial attention, in the dtype of a softmax."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, h: Tensor, g: Tensor) -> Tensor:
        dtype = torch.promote_types(h.dtype, torch.float32)
        return torch.full(h.shape[:2], self.scale / h.shape[1], dtype=dtype, device=h.device)


class NoFeatures(nn.Module):
    """Features of width 0, in place of a Linear that nothing reads."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :0]


class AudioToVisual(nn.Module):
    """The audio-to-visual branch: the sound weights the channels and regions of the picture."""

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        visual_dim, hidden, choose = config.visual_dim, config.d_model, config.choose
        no_spatial, no_guidance = "no-spatial-attention", "no-audio-guidance"
        self.channel_attention = channel_attention(config)
        self.pooled_guide = choose(Linear(2 * visual_dim, hidden), {no_spatial: NoFeatures()})
        self.attended_regions = choose(
            Linear(visual_dim, hidden), {no_spatial: NoFeatures(), no_guidance: NoFeatures()}
        )
        self.visual_attention = choose(SpatialAttention(hidden), {no_spatial: SameWeights(1)})
        self.audio_guided_attention = choose(
            SpatialAttention(hidden), {no_spatial: SameWeights(1), no_guidance: SameWeights(0)}
        )
        add_gates(self, config, "no-attention-gate", no_guidance)

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

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        self.channel_attention = channel_attention(config)
        add_gates(self, config, "no-attention-gate")

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """``p`` (n, r, 512) from the regions and ``q`` (n, 512) from the sound, to one audio feature (n, 512)."""
        attended = q * self.channel_attention(p, q)
        return attended * (2 + self.beta.sum() * torch.sigmoid(attended))


class MeanOverRegions(nn.Module):
    """The mean over the regions of v (n, r, 512), in place of the audio-to-visual branch."""

    def forward(self, v: Tensor, *guides: Tensor) -> Tensor:
        return v.mean(dim=1)


class SoundAlone(nn.Module):
    """The projection q (n, 512) of the sound, in place of the visual-to-audio branch."""

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        return q


class CoAttention(nn.Module):
    """CMGCA, both branches.

    One product computes all layers that read v, and one those that read a: a2v and v2a feed the channel attention of
    the branches, spatial the spatial attention.
    """

    # By variant, what nothing reads of the projections.
    visual_unneeded: ClassVar = {
        "no-a2v": ("a2v", "spatial"),
        "no-v2a": ("v2a",),
        "no-channel-attention": ("a2v", "v2a"),
        "no-spatial-attention": ("spatial",),
    }
    audio_unneeded: ClassVar = {
        "no-a2v": ("a2v", "spatial"),
        "no-channel-attention": ("a2v",),  # the other branch's q is what it attends to
        "no-spatial-attention": ("spatial",),
        "no-audio-guidance": ("spatial",),
    }

    def __init__(self, config: MAGANConfig) -> None:
        super().__init__()
        widths = {"a2v": config.visual_dim, "v2a": config.visual_dim, "spatial": config.d_model}
        visual, audio = (
            {part for name in config.variant for part in unneeded.get(name, ())}
            for unneeded in (self.visual_unneeded, self.audio_unneeded)
        )
        self.visual_projection = Projection(config.visual_dim, widths, visual)
        self.audio_projection = Projection(config.audio_dim, widths, audio)
        self.audio_to_visual = config.choose(AudioToVisual(config), {"no-a2v": MeanOverRegions()})
        self.visual_to_audio = config.choose(VisualToAudio(config), {"no-v2a": SoundAlone()})

    def forward(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Regions ``v`` (n, r, 512) and sound ``a`` (n, 128) to co-attended visual and audio, (n, 512) each."""
        a2v_p, v2a_p, regions = self.visual_projection(v)
        a2v_q, v2a_q, audio_guide = self.audio_projection(a)
        to_visual = [v, a2v_p, a2v_q, regions, audio_guide]
        return side_by_side(self.audio_to_visual, to_visual, self.visual_to_audio, [v2a_p, v2a_q])
