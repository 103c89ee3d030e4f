"""bfloat16 weights for products, cast together in each step."""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from model.co_attention import SpatialAttention
from model.layers.attention import MultiHeadAttention
from model.refinement import Refinement


class BFloat16Weights:
    """bfloat16 copies of the weights of a network's products, and their gradients.

    Autocast casts each weight in a kernel of its own, and its gradient back in another: 204 kernels of a step. With the
    copies, results and gradients are the same to the last bit.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        weights = weights_of_products(network)
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


def weights_of_products(network: nn.Module) -> dict[str, nn.Parameter]:
    """The weights and biases, by name, that go into a product as they are; some are scaled before it."""
    scaled = set()
    for module in network.modules():
        if isinstance(module, Refinement):
            scaled.update(module.attention.modules())
        elif isinstance(module, SpatialAttention):
            scaled.add(module.score)
    return {
        f"{place}.{name}": weight
        for place, module in network.named_modules()
        if isinstance(module, nn.Linear | MultiHeadAttention) and module not in scaled
        for name, weight in module.named_parameters(recurse=False)
    }
