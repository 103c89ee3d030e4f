"""Mean and maximum over regions, and their gradient, are those that autograd derives from the plain formulas."""

import pytest
import torch

from model.layers.pooling import mean_and_max


@pytest.mark.parametrize("regions", [1, 2, 49])
def test_pooling_and_its_gradient_are_those_of_the_plain_formulas(regions):
    torch.manual_seed(0)
    x = torch.randn(3, regions, 5, dtype=torch.float64, requires_grad=True)
    plain = torch.stack([x.mean(dim=1), x.max(dim=1).values], dim=1)
    torch.testing.assert_close(mean_and_max(x), plain)

    weights = torch.randn_like(plain)
    (expected,) = torch.autograd.grad((plain * weights).sum(), x)
    (gradient,) = torch.autograd.grad((mean_and_max(x) * weights).sum(), x)
    torch.testing.assert_close(gradient, expected)
    assert torch.autograd.gradcheck(mean_and_max, x)
