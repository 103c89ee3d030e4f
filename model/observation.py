"""Record attention and gates of the network while it runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.co_attention import SpatialAttention
from model.co_interaction import MultimodalGate, UnimodalGates
from model.magan import MAGAN


class Observation(NamedTuple):
    """Attention and gates of a forward pass over b videos of t segments with r regions; None if a variant lacks one."""

    visual_attention: Tensor | None  # m1 of CMGCA: (b, t, r), a sum of 1 over the regions
    audio_guided_attention: Tensor | None  # m2 of CMGCA: (b, t, r), likewise
    picture_gate: Tensor | None  # the unimodal gate that reads the picture: (b, t), in (0, 1)
    sound_gate: Tensor | None  # the unimodal gate that reads the sound: (b, t), in (0, 1)
    multimodal_gate: Tensor | None  # m of CMGCI: (b, t), in (0, 1); 1 takes visual' alone, 0 audio' alone

    @property
    def absent(self) -> list[str]:
        """The names, in words, of the attention and gates that the network lacks."""
        return [name.replace("_", " ") for name, values in self._asdict().items() if values is None]


@contextmanager
def observed(model: MAGAN) -> Iterator[Callable[[], Observation]]:
    """Record attention and gates of ``model``; gives a function that returns those of the last forward pass."""
    outputs: dict[nn.Module, Tensor] = {}
    modules = _observed_modules(model)
    handles = [
        module.register_forward_hook(lambda module, _, output: outputs.__setitem__(module, output))
        for module in (*modules.values(), model)
    ]

    def last() -> Observation:
        b, t = outputs[model].is_event.shape
        recorded = {name: outputs[module] for name, module in modules.items()}
        for name in recorded.keys() & {"visual_attention", "audio_guided_attention"}:
            recorded[name] = recorded[name].view(b, t, -1)
        for name in recorded.keys() & {"picture_gate", "sound_gate"}:
            recorded[name] = torch.sigmoid(recorded[name]).squeeze(-1)  # the gate's Linear is what was recorded
        if "multimodal_gate" in recorded:
            _, recorded["multimodal_gate"] = recorded["multimodal_gate"]
        return Observation(*map(recorded.get, Observation._fields))

    try:
        yield last
    finally:
        for handle in handles:
            handle.remove()


def _observed_modules(model: MAGAN) -> dict[str, nn.Module]:
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
