"""A modality that is not refined, or not there at all."""

from typing import Any

import torch
from torch import Tensor, nn


def leave_out_visual_refinement(model: nn.Module) -> None:
    """The features as they come."""
    model.refine_visual = nn.Identity()


def leave_out_audio_refinement(model: nn.Module) -> None:
    """The features as they come."""
    model.refine_audio = nn.Identity()


def silence_audio(model: nn.Module) -> None:
    """Audio features are zero, whatever they are."""
    model.refine_audio.register_forward_pre_hook(_zero)


def silence_visual(model: nn.Module) -> None:
    """Visual features are zero, whatever they are."""
    model.refine_visual.register_forward_pre_hook(_zero)


def _zero(module: nn.Module, inputs: tuple[Tensor, ...]) -> Any:
    return tuple(torch.zeros_like(features) for features in inputs)
