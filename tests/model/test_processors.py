"""What a network computes depends on the processor only by rounding."""

import json
import os
import subprocess
import sys

import pytest

COMPUTE = """
import json, numpy, torch
from model import MAGANConfig
from model.registry import NETWORKS
from utils.arithmetic import autocast, parameter_dtype

draw = numpy.random.default_rng(0).random  # PyTorch's own numbers depend on the processor in their last digit
widths = {"visual_dim": 64, "audio_dim": 32, "d_model": 32, "encoder_hidden": 64, "decoder_hidden": 64}
visual, audio = (torch.from_numpy(draw(shape)) for shape in ((8, 10, 2, 2, 64), (8, 10, 32)))
labels = torch.nn.functional.one_hot(torch.arange(80).view(8, 10) % 29, 29)
model = NETWORKS["magan"]["supervised"](MAGANConfig(**widths)).double().eval()
for weight in model.parameters():
    weight.data = torch.from_numpy(draw(weight.shape) - 0.5) / weight.shape[-1] ** 0.5
numbers = {}
for precision in ("fp64", "fp32", "bf16"):
    dtype = parameter_dtype(precision)
    model.to(dtype).zero_grad()
    with autocast(torch.device("cpu"), precision):
        loss = model.loss(model(visual.to(dtype), audio.to(dtype)), labels.to(dtype))["loss"]
    loss.backward()
    norms = [weight.grad.norm().item() for weight in model.parameters()]
    numbers[precision] = [loss.item(), *norms]
print(json.dumps(numbers))
"""
# Of the largest gradient's norm. The numbers of bfloat16 have 8 binary digits, those of float32 24.
ROUNDING = {"bf16": 2**-6, "fp32": 2**-16, "fp64": 1e-12}


def computed(**processor: str) -> dict[str, list[float]]:
    """The loss and the norms of its gradients in each precision, on a processor with less than this one."""
    command = [sys.executable, "-c", COMPUTE]
    result = subprocess.run(command, env=os.environ | processor, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def here() -> dict[str, list[float]]:
    return computed()


@pytest.mark.parametrize(
    "processor",
    [{"ATEN_CPU_CAPABILITY": "default"}, {"ONEDNN_MAX_CPU_ISA": "SSE41"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}],
    ids=lambda processor: "-".join(next(iter(processor.items()))),
)
def test_loss_and_gradients_are_those_of_another_processor(here, processor):
    there = computed(**processor)
    for precision, rounding in ROUNDING.items():
        assert there[precision] == pytest.approx(here[precision], rel=rounding, abs=rounding * max(here[precision]))
