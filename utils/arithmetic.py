"""The precision that tensors are held and computed in, and whether their values are finite."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def parameter_dtype(precision: str) -> torch.dtype:
    """The dtype of parameters and of features wider than float16: float64 under ``fp64``, else float32."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to bfloat16 under ``bf16``; does nothing otherwise."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def to_device(features: Tensor, device: torch.device, precision: str) -> Tensor:
    """Move features to ``device``, then cast to the parameters' dtype: float16 stays small on its way."""
    return features.to(device, non_blocking=True).to(parameter_dtype(precision))


def finite(values: Tensor) -> Tensor:
    """Whether the values (b, ...) are finite, and small enough to be squared, as a network does to them: (b,).

    Does not wait for the device. Squares are float64 for float64, else float32.
    """
    values = values.flatten(1)
    extremes = torch.stack([values.amax(1), values.amin(1)])  # much faster than isfinite of every value
    return extremes.to(torch.promote_types(values.dtype, torch.float32)).square().isfinite().all(dim=0)


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 for float32 products on CUDA: allowed in training, forbidden in evaluation."""
    for operation in (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn):
        operation.fp32_precision = "tf32" if allowed else "ieee"
