"""CMGCA without one of its parts.

``CoAttention`` computes the layers that read the same features as one product. A layer that a variant does not use
loses its rows there, and what reads them gets a tensor of width 0.
"""

import torch
from torch import Tensor, nn

# The rows of both projections, in the order of CoAttention.visual_widths and audio_widths.
_A2V_CHANNELS, _V2A_CHANNELS, _SPATIAL = range(3)


class MeanOverRegions(nn.Module):
    """v* = mean over regions of v."""

    def forward(self, v: Tensor, *_: Tensor) -> Tensor:
        """``v`` (n, r, 512) to (n, 512)."""
        return v.mean(dim=1)


class ProjectedAudio(nn.Module):
    """a* = q."""

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """``q`` (n, 512) to itself."""
        return q


class EvenChannels(nn.Module):
    """1 + c = 1: channel attention with c = 0."""

    def __init__(self, visual_dim: int) -> None:
        super().__init__()
        self.visual_dim = visual_dim

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Of n segments, (n, 512)."""
        return q.new_ones(len(q), self.visual_dim)


class SameWeight(nn.Module):
    """A weight for each region that depends on nothing: 1 / r, or 0."""

    def __init__(self, total: float) -> None:
        super().__init__()
        self.total = total  # over the regions

    def forward(self, h: Tensor, g: Tensor) -> Tensor:
        """``h`` (n, r, 0) to (n, r), in the dtype of a softmax."""
        dtype = torch.promote_types(h.dtype, torch.float32)
        return torch.full(h.shape[:2], self.total / h.shape[1], dtype=dtype, device=h.device)


class NoFeatures(nn.Module):
    """In place of a Linear that is not used: features of width 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :0]


def leave_out_audio_to_visual(model: nn.Module) -> None:
    """v* = mean over regions of v."""
    model.co_attention.audio_to_visual = MeanOverRegions()
    _drop_rows(model.co_attention, "visual", _A2V_CHANNELS, _SPATIAL)
    _drop_rows(model.co_attention, "audio", _A2V_CHANNELS, _SPATIAL)


def leave_out_visual_to_audio(model: nn.Module) -> None:
    """a* = q."""
    model.co_attention.visual_to_audio = ProjectedAudio()
    _drop_rows(model.co_attention, "visual", _V2A_CHANNELS)


def leave_out_channel_attention(model: nn.Module) -> None:
    """c = 0 in both branches."""
    for branch in (model.co_attention.audio_to_visual, model.co_attention.visual_to_audio):
        branch.channel_attention = EvenChannels(model.config.visual_dim)
    _drop_rows(model.co_attention, "visual", _A2V_CHANNELS, _V2A_CHANNELS)
    _drop_rows(model.co_attention, "audio", _A2V_CHANNELS)  # the other branch's q is what it attends to


def leave_out_spatial_attention(model: nn.Module) -> None:
    """m1 = m2 = 1 / r."""
    branch = model.co_attention.audio_to_visual
    branch.visual_attention = branch.audio_guided_attention = SameWeight(1)
    branch.pooled_guide = branch.attended_regions = NoFeatures()
    _drop_rows(model.co_attention, "visual", _SPATIAL)
    _drop_rows(model.co_attention, "audio", _SPATIAL)


def leave_out_audio_guidance(model: nn.Module) -> None:
    """v* = f1: m2 = 0 and beta = 0."""
    branch = model.co_attention.audio_to_visual
    branch.audio_guided_attention = SameWeight(0)
    branch.attended_regions = NoFeatures()
    _drop_rows(model.co_attention, "audio", _SPATIAL)
    _open_gate(branch)


def leave_out_gates(model: nn.Module) -> None:
    """beta = 0 in both branches."""
    _open_gate(model.co_attention.audio_to_visual)
    _open_gate(model.co_attention.visual_to_audio)


def _open_gate(branch: nn.Module) -> None:
    beta = torch.zeros_like(branch.beta.detach())
    del branch.beta
    branch.register_buffer("beta", beta, persistent=False)


def _drop_rows(co_attention: nn.Module, modality: str, *parts: int) -> None:
    """Take the rows of some parts out of a modality's projection."""
    projection: nn.Linear = getattr(co_attention, f"{modality}_projection")
    before: tuple[int, ...] = getattr(co_attention, f"{modality}_widths")
    widths = tuple(0 if part in parts else width for part, width in enumerate(before))
    setattr(co_attention, f"{modality}_widths", widths)
    if not any(widths):
        setattr(co_attention, f"{modality}_projection", NoFeatures())
        return
    for name in ("weight", "bias"):
        rows = getattr(projection, name).detach().split(before)
        kept = torch.cat([row for row, width in zip(rows, widths, strict=True) if width])
        setattr(projection, name, nn.Parameter(kept))
    projection.out_features = sum(widths)
