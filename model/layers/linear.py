"""Linear layers whose biases train faster on a GPU, and bfloat16 products on a CPU without instructions for them."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from utils.arithmetic import has_bfloat16


class Linear(nn.Linear):
    """``nn.Linear`` that computes with ``linear``."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``, (..., n, k) to (..., n, d). Autocast in training must be to bfloat16 on a GPU."""
    if x.is_cuda and torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)
    rounds = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    if rounds and x.device.type == "cpu" and x.dtype != torch.float64 and not has_bfloat16():
        return _rounded_linear(x, weight, bias)
    return F.linear(x, weight, bias)


def _rounded_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear`` as autocast to bfloat16 computes it on a CPU, in float32: from rounded values to rounded results.

    Without instructions for bfloat16, the products of a backward pass take a CPU up to 20 times as long.
    """
    with torch.autocast("cpu", enabled=False):
        return F.linear(*(tensor.bfloat16().float() for tensor in (x, weight, bias))).bfloat16()


class _Linear(torch.autograd.Function):
    """``F.linear`` on a GPU, the gradient of whose bias is a product of rows with ones.

    Autograd sums over rows, 59 times a step, which takes 1.3 to 4 times as long.
    """

    @staticmethod
    @custom_fwd(device_type="cuda", cast_inputs=torch.bfloat16)
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cuda")
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_rows = gradient.flatten(end_dim=-2).t()  # (d, n)
        of_x = gradient @ weight if ctx.needs_input_grad[0] else None
        return of_x, of_rows @ x.flatten(end_dim=-2), torch.mv(of_rows, _ones(of_rows.shape[1], x.dtype, x.device))


@cache  # made in the steps before a CUDA graph is captured, which have the same batch size
def _ones(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.ones(length, dtype=dtype, device=device)
