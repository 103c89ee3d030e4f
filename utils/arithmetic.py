"""The precision that tensors are held and computed in."""

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def parameter_dtype(precision: str) -> torch.dtype:
    """The dtype of parameters and of features wider than float16: float64 under ``fp64``, else float32."""
    return torch.float64 if precision == "fp64" else torch.float32


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to bfloat16 under ``bf16``; disabled otherwise."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def to_device(features: Tensor, device: torch.device, precision: str) -> Tensor:
    """Move features to ``device``, then cast to the parameters' dtype: float16 stays small on its way."""
    return features.to(device, non_blocking=True).to(parameter_dtype(precision))


def allow_tf32(allowed: bool) -> None:
    """Allow or forbid TF32 for float32 matrix products on CUDA: allowed in training, forbidden in evaluation."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
