"""Mean and maximum over the regions of a segment."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class _MeanAndMax(torch.autograd.Function):
    """Mean and maximum with one gradient tensor (n, r, d); autograd would write one for each and add them."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        largest, where = x.max(dim=1)
        ctx.save_for_backward(where)
        ctx.num_regions = x.shape[1]
        return torch.stack([x.mean(dim=1), largest], dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        (where,) = ctx.saved_tensors
        of_mean, of_max = gradient.split(1, dim=1)  # (n, 1, d) each
        spread = of_mean.expand(-1, ctx.num_regions, -1) / ctx.num_regions
        return spread.scatter_add_(1, where.unsqueeze(1), of_max)


def mean_and_max(x: Tensor) -> Tensor:
    """Mean and maximum over regions, (n, r, d) to (n, 2, d)."""
    if torch.is_grad_enabled() and x.requires_grad:
        return _MeanAndMax.apply(x)
    return torch.stack([x.mean(dim=1), x.amax(dim=1)], dim=1)  # without the maximum's place, which costs more than it
