"""Localization that can learn when: seconds are scored, and pooled by their weight."""

from torch import Tensor, nn
from torch.nn import functional as F

from model.localization import Localization


class WeightedLocalization(nn.Module):
    """event = sum over t of w_t Linear(fused_t), with weights w_t in proportion to sigmoid(is_event_t)."""

    def __init__(self, published: Localization) -> None:
        super().__init__()
        self.is_event, self.event = published.is_event, published.event

    def forward(self, fused: Tensor) -> tuple[Tensor, Tensor]:
        """``fused`` (b, t, d_model) to logits: is_event (b, t) and event (b, K)."""
        is_event = self.is_event(fused).squeeze(-1)
        # sigmoid(x_t) / sum of sigmoid(x), also where all of them are too small for their dtype.
        weights = F.logsigmoid(is_event).softmax(dim=-1)
        return is_event, (weights.unsqueeze(-1) * self.event(fused)).sum(dim=1)


def mend_pooling(model: nn.Module) -> None:
    """Score seconds and pool them by their weight."""
    model.localization = WeightedLocalization(model.localization)
