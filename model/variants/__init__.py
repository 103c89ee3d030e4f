"""What each variant of ``configs.variants`` changes in a whole network, just made.

What stays keeps the weights that it has in the whole network, so that variants of one seed start alike.
"""

from collections.abc import Sequence

from torch import nn

from configs.variants import check_setting
from model.variants import losses
from model.variants.changes import drop_rows, open_gate, put, silence
from model.variants.co_attention import EvenChannels, even_weights, no_features, no_weights
from model.variants.co_interaction import MendedUnimodalGates
from model.variants.localization import WeightedLocalization, logit_of_best_event
from model.variants.temporal_relations import EncodingsAsQueries

_A2V, _V2A, _CMGCI = "co_attention.audio_to_visual", "co_attention.visual_to_audio", "co_interaction"
# The rows of both projections, in the order of CoAttention.visual_widths and audio_widths.
_A2V_CHANNELS, _V2A_CHANNELS, _SPATIAL = range(3)

# A function of ``changes`` and its arguments after the network; the lambdas compute what stands in place of a part.
CHANGES: dict[str, Sequence[tuple]] = {
    "no-refine-visual": [(put, "refine_visual", nn.Identity)],
    "no-refine-audio": [(put, "refine_audio", nn.Identity)],
    "no-a2v": [
        (put, _A2V, lambda v, *_: v.mean(dim=1)),  # over the regions
        (drop_rows, "visual", _A2V_CHANNELS, _SPATIAL),
        (drop_rows, "audio", _A2V_CHANNELS, _SPATIAL),
    ],
    "no-v2a": [
        (put, _V2A, lambda p, q: q),
        (drop_rows, "visual", _V2A_CHANNELS),
    ],
    "no-channel-attention": [
        (put, f"{_A2V}.channel_attention", EvenChannels),
        (put, f"{_V2A}.channel_attention", EvenChannels),
        (drop_rows, "visual", _A2V_CHANNELS, _V2A_CHANNELS),
        (drop_rows, "audio", _A2V_CHANNELS),  # the other branch's q is what it attends to
    ],
    "no-spatial-attention": [
        (put, f"{_A2V}.visual_attention", even_weights),
        (put, f"{_A2V}.audio_guided_attention", even_weights),
        (put, f"{_A2V}.pooled_guide", no_features),
        (put, f"{_A2V}.attended_regions", no_features),
        (drop_rows, "visual", _SPATIAL),
        (drop_rows, "audio", _SPATIAL),
    ],
    "no-audio-guidance": [
        (put, f"{_A2V}.audio_guided_attention", no_weights),
        (put, f"{_A2V}.attended_regions", no_features),
        (drop_rows, "audio", _SPATIAL),
        (open_gate, _A2V),
    ],
    "no-attention-gate": [(open_gate, _A2V), (open_gate, _V2A)],
    "no-cross-modal-decoder": [(put, "temporal_relations", EncodingsAsQueries)],
    "no-interaction": [
        (put, f"{_CMGCI}.visual_interaction", lambda x, y: x),
        (put, f"{_CMGCI}.audio_interaction", lambda x, y: x),
    ],
    "no-unimodal-gates": [(put, f"{_CMGCI}.unimodal_gates", lambda *_: (None, None))],
    "no-multimodal-gate": [
        (put, f"{_CMGCI}.multimodal_gate", lambda visual, audio: ((visual + audio) / 2, None)),
        (put, f"{_CMGCI}.multimodal_events", lambda fused: None),
    ],
    "no-gate-loss": [  # without scores, no loss term is on the gates; the multimodal one stays, which also fuses
        (put, f"{_CMGCI}.unimodal_gates", lambda *_: (None, None)),
        (put, f"{_CMGCI}.multimodal_events", lambda fused: None),
    ],
    "visual-only": [(silence, "refine_audio")],
    "audio-only": [(silence, "refine_visual")],
    "mend-gate-terms": [(put, "gate_term", losses.gate_term_on_probabilities)],
    "mend-score-terms": [
        (put, "outputs", losses.SupervisedOutputsWithLogits),
        (put, "score_term", losses.score_term_on_logits),
    ],
    "mend-loss": [
        (put, "outputs", losses.WeaklySupervisedOutputsWithLogits),
        (put, "event_term", losses.event_term_on_logits),
        (put, "gate_term", losses.weak_gate_term_on_logits),
    ],
    "mend-pooling": [(put, "localization", WeightedLocalization)],
    "mend-decision": [(put, "event_logit", logit_of_best_event)],
    "mend-gates": [(put, f"{_CMGCI}.unimodal_gates", MendedUnimodalGates)],
}


def apply_variants(model: nn.Module) -> None:
    """Change a whole network, just made, into the variant that its config names.

    Raises:
        ValueError: its setting has no such variant.
    """
    check_setting(model.config.variant, model.setting)
    for name in model.config.variant:
        for change, *arguments in CHANGES[name]:
            change(model, *arguments)
