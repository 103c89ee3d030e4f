"""The linear layers of a GPU have the outputs and gradients of PyTorch's."""

import pytest
import torch
from torch.nn import functional as F

from model.layers.linear import _Linear


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (2, 3, 5, 6)])
@pytest.mark.parametrize("needs_gradient", [True, False])
def test_outputs_and_gradients_are_those_of_pytorch(shape, needs_gradient):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=needs_gradient)
    weight, bias = (torch.randn(size, dtype=torch.float64, requires_grad=True) for size in ((4, 6), (4,)))
    inputs = [x, weight, bias] if needs_gradient else [weight, bias]
    expected, found = F.linear(x, weight, bias), _Linear.apply(x, weight, bias)
    assert torch.equal(expected, found)
    of_outputs = torch.randn_like(expected)
    gradients = (torch.autograd.grad(outputs, inputs, of_outputs) for outputs in (expected, found))
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-14, atol=1e-14)


def test_bfloat16_weights_take_the_inputs_of_autocast_and_have_gradients_of_their_type():
    torch.manual_seed(0)
    x = torch.randn(3, 5, 6, requires_grad=True)
    weight, bias = (torch.randn(size, dtype=torch.bfloat16, requires_grad=True) for size in ((4, 6), (4,)))
    outputs = _Linear.apply(x.bfloat16(), weight, bias)
    outputs.float().square().sum().backward()
    assert [tensor.grad.dtype for tensor in (x, weight, bias)] == [torch.float32, torch.bfloat16, torch.bfloat16]
