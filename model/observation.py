"""Record attention and gates of MAGAN while it runs.

``visual_attention`` and ``audio_guided_attention``, m1 and m2 of CMGCA, are maps (b, t, r) with a sum of 1 over the
regions. ``picture_gate`` and ``sound_gate``, the unimodal gates that read the picture and the sound, and
``multimodal_gate``, m of CMGCI, which takes visual' alone at 1 and audio' alone at 0, are curves (b, t) in (0, 1). A
variant may lack some of them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.co_attention import SpatialAttention
from model.co_interaction import MultimodalGate, UnimodalGates
from model.network import Network, Observation


@contextmanager
def observed(model: Network) -> Iterator[Callable[[NamedTuple], Observation]]:
    """Record attention and gates of ``model``; gives a function of its last outputs that returns them."""
    outputs: dict[nn.Module, Tensor] = {}
    modules = _observed_modules(model)
    handles = [
        module.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
        for module in modules.values()
    ]

    def last(of_model: NamedTuple) -> Observation:
        b, t = of_model.is_event.shape
        recorded = {name: outputs[module] for name, module in modules.items()}
        for name in recorded.keys() & {"visual_attention", "audio_guided_attention"}:
            recorded[name] = recorded[name].view(b, t, -1)
        for name in recorded.keys() & {"picture_gate", "sound_gate"}:
            recorded[name] = torch.sigmoid(recorded[name]).squeeze(-1)  # the gate's Linear is what was recorded
        if "multimodal_gate" in recorded:
            _, recorded["multimodal_gate"] = recorded["multimodal_gate"]
        return recorded

    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


def _observed_modules(model: Network) -> dict[str, nn.Module]:
    """The modules that give what is observed; a variant has others in some places."""
    branch, interaction = model.co_attention.audio_to_visual, model.co_interaction
    modules = {}
    for name in ("visual_attention", "audio_guided_attention"):
        if isinstance(attention := getattr(branch, name, None), SpatialAttention):
            modules[name] = attention
    if isinstance(gates := interaction.unimodal_gates, UnimodalGates):
        modules["picture_gate"], modules["sound_gate"] = (
            getattr(gates, name) for name in (gates.reads_picture, gates.reads_sound)
        )
    if isinstance(interaction.multimodal_gate, MultimodalGate):
        modules["multimodal_gate"] = interaction.multimodal_gate
    return modules
