"""Changes of a network that variants consist of."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from model.variants.co_attention import no_features


class Function(nn.Module):
    """A module that computes a function."""

    def __init__(self, function: Callable) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


def put(model: nn.Module, place: str, part: Callable) -> None:
    """Put ``part`` in a place of the network: in place of a module, a module made from it, or a function."""
    owner, _, name = place.rpartition(".")
    owner = model.get_submodule(owner)
    before = getattr(owner, name)
    if isinstance(before, nn.Module):
        part = part(before) if isinstance(part, type) else Function(part)
    setattr(owner, name, part)


def open_gate(model: nn.Module, place: str) -> None:
    """beta = 0 in a branch of the co-attention."""
    branch = model.get_submodule(place)
    beta = torch.zeros_like(branch.beta.detach())
    del branch.beta
    branch.register_buffer("beta", beta, persistent=False)


def drop_rows(model: nn.Module, modality: str, *parts: int) -> None:
    """Take the rows of some parts, which nothing reads, out of a modality's projection in the co-attention.

    It computes the layers that read the same features as one product; what read the rows gets a tensor of width 0.
    """
    co_attention = model.co_attention
    projection: nn.Linear = getattr(co_attention, f"{modality}_projection")
    before: tuple[int, ...] = getattr(co_attention, f"{modality}_widths")
    widths = tuple(0 if part in parts else width for part, width in enumerate(before))
    setattr(co_attention, f"{modality}_widths", widths)
    if not any(widths):
        put(co_attention, f"{modality}_projection", no_features)
        return
    for name in ("weight", "bias"):
        rows = getattr(projection, name).detach().split(before)
        kept = torch.cat([row for row, width in zip(rows, widths, strict=True) if width])
        setattr(projection, name, nn.Parameter(kept))
    projection.out_features = sum(widths)


def silence(model: nn.Module, place: str) -> None:
    """Zero the features that the module in a place reads."""
    model.get_submodule(place).register_forward_pre_hook(_zero)


def _zero(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.zeros_like(features) for features in inputs)
