"""bfloat16 weights for products, cast together in each step."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call


class BFloat16Weights:
    """bfloat16 copies of the ``weights`` of a network's products, by name, and their gradients.

    Autocast casts each weight in a kernel of its own, and its gradient back in another: 204 kernels of a step. With the
    copies, results and gradients are the same to the last bit.
    """

    def __init__(self, network: nn.Module, weights: Mapping[str, nn.Parameter]) -> None:
        self.network = network
        # A kernel casts a few dozen of them and lasts as long as its largest one, so the large ones should share one.
        self.weights = dict(sorted(weights.items(), key=lambda item: -item[1].numel()))
        self.copies = {
            name: torch.empty_like(weight, dtype=torch.bfloat16).requires_grad_()
            for name, weight in self.weights.items()
        }

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """``network(*inputs)`` with the copies in place of the weights, to be called under autocast."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.copies.values()), list(self.weights.values()))
        return functional_call(self.network, self.copies, inputs)

    def move_gradients(self) -> None:
        """Move the gradients from the copies to the weights, which have none, after a backward pass."""
        gradients = []
        for name, copy in self.copies.items():
            if copy.grad is not None:
                self.weights[name].grad = torch.empty_like(self.weights[name])
                gradients.append(copy.grad)
                copy.grad = None
        torch._foreach_copy_([weight.grad for weight in self.weights.values() if weight.grad is not None], gradients)
