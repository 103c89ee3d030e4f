"""Localization that knows when: seconds are scored, to pool them by their weight or to decide on each of them."""

from typing import NamedTuple

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


def logit_of_best_event(model: nn.Module, outputs: NamedTuple, fused: Tensor) -> Tensor:
    """Linear(fused_t) of the video's best event, less that of background: (b, t, d_model) to logits (b, t)."""
    scores = model.localization.event(fused)  # (b, t, K), background last
    best = model.class_score(outputs)[:, :-1].argmax(dim=-1)  # (b,)
    of_best = scores.gather(-1, best[:, None, None].expand(-1, scores.shape[1], 1)).squeeze(-1)
    return of_best - scores[..., -1]
