"""The linear layers have the outputs and gradients of PyTorch's."""

import pytest
import torch
from torch.nn import functional as F

from model.layers.linear import _Linear, _rounded_linear, linear


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


def test_bfloat16_products_in_float32_are_those_of_autocast():
    """But for the order of their sums: at most the last of a bfloat16 number's 8 digits differs."""
    torch.manual_seed(0)
    inputs = [torch.randn(size, requires_grad=True) for size in ((2, 3, 40, 60), (50, 60), (50,))]
    of_outputs = torch.randn(2, 3, 40, 50).bfloat16()
    results = []
    for function in (F.linear, _rounded_linear):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = function(*inputs)
        results.append([outputs, *torch.autograd.grad(outputs, inputs, of_outputs)])
    for theirs, ours in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, ours.bfloat16().to(ours.dtype))
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=2**-7 * theirs.abs().max().item())


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_cpu_without_bfloat16_rounds_where_autocast_does(monkeypatch, has_bfloat16):
    """Not without autocast, nor where it is to another type, nor in float64, which autocast leaves alone."""
    rounded = []
    monkeypatch.setattr("model.layers.linear.has_bfloat16", lambda: has_bfloat16)
    monkeypatch.setattr("model.layers.linear._rounded_linear", lambda *args: rounded.append(args) or F.linear(*args))
    tensors = [torch.ones(size) for size in ((2, 3), (4, 3), (4,))]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear(*tensors)
        linear(*(tensor.double() for tensor in tensors))
    with torch.autocast("cpu", dtype=torch.float16):
        linear(*tensors)
    linear(*tensors)
    assert len(rounded) == (not has_bfloat16)
