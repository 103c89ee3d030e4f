"""Gradients of every variant in the processes that ``torchrun`` starts, against those of one process.

torchrun --nproc_per_node 2 -m tests.engine.variants_in_processes
"""

import copy

import torch

from configs.variants import variants_of
from engine.device.distributed import Ranks
from model import MAGANConfig
from model.registry import NETWORKS

SMALL = {"visual_dim": 16, "audio_dim": 8, "d_model": 8, "encoder_hidden": 12, "decoder_hidden": 12, "num_events": 3}
NO_DROPOUT = {name: 0.0 for name in MAGANConfig.__dataclass_fields__ if name.endswith("dropout")}

ranks, cpu = Ranks(), torch.device("cpu")
generator = torch.Generator().manual_seed(0)
visual, audio = (torch.rand(4, 5, *shape, generator=generator).double() for shape in ((2, 2, 16), (8,)))
events = torch.eye(4).double()[[0, 1, 2, 3]]
labels = {"supervised": events.unsqueeze(1).repeat(1, 5, 1), "weakly": events}
own = slice(ranks.rank * 4 // ranks.world_size, (ranks.rank + 1) * 4 // ranks.world_size)

with ranks.connected(cpu):
    for setting, model_class in NETWORKS["magan"].items():
        for name in ("", *variants_of(setting)):
            torch.manual_seed(0)
            model = model_class(MAGANConfig(**SMALL, **NO_DROPOUT, variant=(name,) if name else ())).double()
            alone = copy.deepcopy(model)
            alone.loss(alone(visual, audio), labels[setting])["loss"].backward()
            network = ranks.wrap(model, cpu)
            for _ in range(2):  # the second pass fails if a parameter got no gradient in the first
                network.zero_grad()
                model.loss(network(visual[own], audio[own]), labels[setting][own])["loss"].backward()
            for key, parameter in model.named_parameters():
                expected = alone.get_parameter(key).grad
                torch.testing.assert_close(parameter.grad, expected, rtol=0, atol=1e-12, msg=f"{name}: {key}")
            if ranks.is_main:
                print(setting, name or "full")
