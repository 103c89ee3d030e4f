"""What the network does inside, recorded while it runs: where it looks, and what its gates say."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.magan import MAGAN


class Observation(NamedTuple):
    """Of one forward pass over b videos of t segments with r regions."""

    visual_attention: Tensor  # m1 of CMGCA: (b, t, r), a sum of 1 over the regions
    audio_guided_attention: Tensor  # m2 of CMGCA: (b, t, r), likewise
    picture_gate: Tensor  # the unimodal gate that reads the picture: (b, t), in (0, 1)
    sound_gate: Tensor  # the unimodal gate that reads the sound: (b, t), in (0, 1)
    multimodal_gate: Tensor  # m of CMGCI: (b, t), in (0, 1); 1 takes visual' alone, 0 audio' alone


@contextmanager
def observed(model: MAGAN) -> Iterator[Callable[[], Observation]]:
    """Record what ``model`` does while it runs; gives a function that returns it for the last forward pass."""
    attention, interaction = model.co_attention.audio_to_visual, model.co_interaction
    gates = interaction.unimodal_gates
    modules = Observation(
        visual_attention=attention.visual_attention,
        audio_guided_attention=attention.audio_guided_attention,
        picture_gate=getattr(gates, gates.reads_picture),
        sound_gate=getattr(gates, gates.reads_sound),
        multimodal_gate=interaction.multimodal_gate,
    )
    outputs: dict[nn.Module, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
        for module in modules
    ]

    def last() -> Observation:
        recorded = Observation(*(outputs[module] for module in modules))
        b, t = recorded.multimodal_gate.shape[:2]
        return Observation(
            recorded.visual_attention.view(b, t, -1),
            recorded.audio_guided_attention.view(b, t, -1),
            torch.sigmoid(recorded.picture_gate).squeeze(-1),  # the gate's Linear is what was recorded
            torch.sigmoid(recorded.sound_gate).squeeze(-1),
            recorded.multimodal_gate.squeeze(-1),
        )

    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()
