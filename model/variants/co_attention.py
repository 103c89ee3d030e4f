"""What stands in place of parts of CMGCA."""

import torch
from torch import Tensor, nn

from model.co_attention import ChannelAttention


class EvenChannels(nn.Module):
    """1 + c = 1: channel attention with c = 0."""

    def __init__(self, published: ChannelAttention) -> None:
        super().__init__()
        self.visual_dim = published.expand.out_features

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Of n segments, (n, 512)."""
        return q.new_ones(len(q), self.visual_dim)


def even_weights(h: Tensor, g: Tensor) -> Tensor:
    """The weight 1 / r of each region: ``h`` (n, r, 0) to (n, r), in the dtype of a softmax."""
    dtype = torch.promote_types(h.dtype, torch.float32)
    return torch.full(h.shape[:2], 1 / h.shape[1], dtype=dtype, device=h.device)


def no_weights(h: Tensor, g: Tensor) -> Tensor:
    """The weight 0 of each region, likewise."""
    return 0 * even_weights(h, g)


def no_features(x: Tensor) -> Tensor:
    """Features of width 0, in place of a Linear that nothing reads."""
    return x[..., :0]
