"""Adam for a quick start and quick steps."""

from inspect import unwrap
from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """``torch.optim.Adam``, to the last bit; it starts two seconds sooner, and its fused step is quicker on a GPU.

    The methods of PyTorch's optimizers import its compiler, only to exclude themselves. Nothing is compiled here.
    """

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = unwrap(torch.optim.Adam.load_state_dict)
    state_dict = unwrap(torch.optim.Adam.state_dict)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))
    zero_grad = unwrap(torch.optim.Adam.zero_grad)

    def _init_group(self, group: dict[str, Any], parameters: list[Tensor], *others: list[Tensor]) -> bool:
        """List the parameters of a group, with their gradients and moments, largest first.

        A kernel updates a few dozen of them and lasts as long as its largest one, so the large ones should share one.
        """
        is_complex = super()._init_group(group, parameters, *others)
        order = sorted(range(len(parameters)), key=lambda number: -parameters[number].numel())
        for tensors in (parameters, *others):
            if tensors:
                tensors[:] = [tensors[number] for number in order]
        return is_complex
