"""The optimizer of the trainer is PyTorch's Adam, without the import of PyTorch's compiler."""

import subprocess
import sys
from copy import deepcopy

import pytest
import torch

from configs import ROOT
from engine.device.adam import Adam

SIZES = [(3,), (50, 7), (2, 2), (40,)]


def parameters():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(size)) for size in SIZES]


def train(optimizer, weights, steps):
    for step in range(steps):
        for number, weight in enumerate(weights):
            # One has no gradient at first, as a weight that a variant leaves out.
            weight.grad = None if number == 1 and step < 2 else torch.cos((step + 1) * weight.detach() + number)
        optimizer.step()


@pytest.mark.parametrize("steps", [1, 5])
def test_it_trains_like_the_adam_of_pytorch_to_the_last_bit(steps):
    ours, theirs = parameters(), parameters()
    optimizers = Adam(ours, lr=1e-2, fused=True), torch.optim.Adam(theirs, lr=1e-2, fused=True)
    for optimizer, weights in zip(optimizers, (ours, theirs), strict=True):
        train(optimizer, weights, steps)
    assert all(map(torch.equal, ours, theirs))
    own, expected = (optimizer.state_dict() for optimizer in optimizers)
    assert own["param_groups"] == expected["param_groups"]
    assert own["state"].keys() == expected["state"].keys()
    for place, values in expected["state"].items():
        assert all(torch.equal(own["state"][place][name], value) for name, value in values.items())


def test_it_goes_on_from_the_state_of_the_adam_of_pytorch():
    ours, theirs = parameters(), parameters()
    earlier = torch.optim.Adam(theirs, lr=1e-2, fused=True)
    train(earlier, theirs, 3)
    optimizer = Adam(ours, lr=1e-2, fused=True)
    optimizer.load_state_dict(deepcopy(earlier.state_dict()))
    with torch.no_grad():
        for weight, other in zip(ours, theirs, strict=True):
            weight.copy_(other)
    train(optimizer, ours, 2)
    train(earlier, theirs, 2)
    assert all(map(torch.equal, ours, theirs))


def test_training_does_not_import_the_compiler(data_root, small_config, tmp_path):
    flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config("supervised"), "--n_epoch", 1)
    command = ["supv_main.py", *flags, "--precision", "bf16", "--snapshot_pref", tmp_path]
    code = (
        f"import runpy, sys; sys.argv = {[*map(str, command)]}; runpy.run_path('supv_main.py', run_name='__main__'); "
        "assert not {'torch._dynamo', 'sympy'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
