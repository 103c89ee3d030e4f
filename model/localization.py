"""The heads of the network: whether a segment shows an event, and which event the video shows."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.linear import Linear


class Localization(nn.Module):
    """is_event = Linear fused, per segment; event = Linear(max over segments of fused), per video."""

    def __init__(self, d_model: int, num_classes: int) -> None:
        super().__init__()
        self.is_event = Linear(d_model, 1)
        self.event = Linear(d_model, num_classes)

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """``fused`` (b, t, d_model) to logits: is_event (b, t) and event (b, K)."""
        is_event = self.is_event(fused).squeeze(-1)
        event = self.event(fused.max(dim=1).values)
        return is_event, event


class GatedLocalization(Localization):
    """The weakly-supervised heads: event is the maximum over segments of sigmoid(is_event) * Linear(...)."""

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """``fused`` (b, t, d_model) to logits: is_event (b, t) and event (b, K)."""
        is_event, raw = super().forward(fused)
        gated = torch.sigmoid(is_event).unsqueeze(-1) * raw.unsqueeze(1)  # (b, t, K)
        return is_event, gated.max(dim=1).values


class WeightedLocalization(Localization):
    """event = sum over t of w_t Linear(fused_t), with weights w_t in proportion to sigmoid(is_event_t)."""

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """``fused`` (b, t, d_model) to logits: is_event (b, t) and event (b, K)."""
        is_event = self.is_event(fused).squeeze(-1)
        # sigmoid(x_t) / sum of sigmoid(x), also where all of them are too small for their dtype.
        weights = F.logsigmoid(is_event).softmax(dim=-1)
        return is_event, (weights.unsqueeze(-1) * self.event(fused)).sum(dim=1)
