"""The precision that tensors are held and computed in, and whether their values are finite."""

from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from utils.errors import InputError
from utils.memory import has_own_memory

Tensors = TypeVar("Tensors")


def parameter_dtype(precision: str) -> torch.dtype:
    """The dtype of parameters and of features wider than float16: float64 under ``fp64``, else float32."""
    return torch.float64 if precision == "fp64" else torch.float32


@cache
def has_float64(device: torch.device) -> bool:
    """Whether tensors on ``device`` can be float64; on Apple's MPS they cannot."""
    try:
        torch.empty(0, dtype=torch.float64, device=device)
    except TypeError:
        return False
    return True


@cache
def has_bfloat16() -> bool:
    """Whether this CPU has instructions for bfloat16 products, and oneDNN, which does them, may use them.

    With AVX-512 alone, oneDNN emulates them: the products of a training step take 2.5 times as long as rounded ones.
    """
    emulates = torch.cpu._is_avx512_supported() and not torch.cpu._is_avx512_bf16_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported() and not emulates


def require_precision(device: torch.device, precision: str) -> None:
    """Raise an ``InputError`` if networks are not computed in ``precision`` on ``device``."""
    if precision == "fp32" or device.type == "cpu":
        return
    is_supported = getattr(torch.get_device_module(device), "is_bf16_supported", lambda: False)
    if not (has_float64(device) if precision == "fp64" else is_supported()):
        raise InputError(f"--precision {precision} is not available on {device}: use --precision fp32, or --gpu cpu")


def decision_device(device: torch.device) -> torch.device:
    """Where decisions are made, in float64, on the outputs of a network on ``device``: there, or else on the CPU."""
    return device if has_float64(device) else torch.device("cpu")


def for_decision(tensors: Tensors) -> Tensors:
    """Move tensors, in any nesting, to the ``decision_device`` of the one that they are on."""
    return tree_map_only(Tensor, lambda tensor: tensor.to(decision_device(tensor.device)), tensors)


def autocast(device: torch.device, precision: str) -> AbstractContextManager:
    """Autocast to bfloat16 under ``bf16``; does nothing otherwise."""
    return torch.autocast(device.type, dtype=torch.bfloat16) if precision == "bf16" else nullcontext()


def to_device(features: Tensor, device: torch.device, precision: str) -> Tensor:
    """Move features to ``device``, then cast to the parameters' dtype: float16 stays small on its way."""
    return features.to(device, non_blocking=has_own_memory(device)).to(parameter_dtype(precision))


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
