"""Variants of the network: parts left out, and quirks of the published code undone.

This is the list that configs, ``--help`` and docs share. ``model.variants`` holds what each of them does.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from reprlib import repr as short_repr  # shortens a value of any size
from typing import NamedTuple

BOTH = ("supervised", "weakly")


class Variant(NamedTuple):
    """A change of the network. Two that touch the same thing cannot be combined."""

    part: str  # the paper's name for what changes
    sentence: str  # what stands in its place
    touches: tuple[str, ...]
    settings: tuple[str, ...] = BOTH


_REFINEMENT, _CMGCA, _CMGCI = "self-attention refinement", "CMGCA", "CMGCI"
_GATE_LOSS = "event-aware gate loss"
_A2V = ("A2V channel attention", "visual spatial attention", "audio-guided spatial attention", "A2V gate")
_V2A = ("V2A channel attention", "V2A gate")

VARIANTS = {
    # ---------------------------------------------------------------------------------------- parts left out
    "no-refine-visual": Variant(_REFINEMENT, "the visual features are not refined: identity", ("visual refinement",)),
    "no-refine-audio": Variant(_REFINEMENT, "the audio features are not refined: identity", ("audio refinement",)),
    "no-a2v": Variant(
        f"{_CMGCA}, audio-to-visual", "the visual feature of a segment is the mean over its regions", _A2V
    ),
    "no-v2a": Variant(f"{_CMGCA}, visual-to-audio", "the audio feature of a segment is its projection alone, q", _V2A),
    "no-channel-attention": Variant(
        f"{_CMGCA}, channel attention", "all channels weigh the same in both branches: c = 0", (_A2V[0], _V2A[0])
    ),
    "no-spatial-attention": Variant(
        f"{_CMGCA}, spatial attention", "all regions weigh the same: m1 = m2 = 1 / r", (_A2V[1], _A2V[2])
    ),
    "no-audio-guidance": Variant(
        f"{_CMGCA}, audio-guided spatial attention",
        "the audio-to-visual branch gives f1, what the visual spatial attention selects, alone",
        (_A2V[2], _A2V[3]),
    ),
    "no-attention-gate": Variant(
        f"{_CMGCA}, gates", "what both attentions select is added without gates: beta = 0", (_A2V[3], _V2A[1])
    ),
    "no-cross-modal-decoder": Variant(
        "temporal relations, cross-modal decoder", "a modality's query is its own encoding", ("decoder",)
    ),
    "no-interaction": Variant(
        f"{_CMGCI}, interaction", "the queries go to the gates without interaction", ("interaction",)
    ),
    "no-unimodal-gates": Variant(
        f"{_CMGCI}, unimodal gates", "no unimodal gates, nor their score and loss terms", ("unimodal gates",)
    ),
    "no-multimodal-gate": Variant(
        f"{_CMGCI}, multimodal gate",
        "the modalities are fused by their mean; no multimodal gate, nor its score and loss terms",
        ("multimodal gate", "multimodal score"),
    ),
    "no-gate-loss": Variant(
        _GATE_LOSS,
        "the event-aware gate loss is left out, with the layers that only it trains; weakly, the gate term, and the "
        "decision reads event alone",
        ("unimodal gates", "multimodal score", "gate terms", "score terms"),
    ),
    "visual-only": Variant("audio modality", "the audio features are zero", ("modalities",)),
    "audio-only": Variant("visual modality", "the visual features are zero", ("modalities",)),
    # ---------------------------------------------------------------------------------------- quirks undone
    "mend-gate-terms": Variant(
        _GATE_LOSS, "gates, which are probabilities, go into a loss on probabilities", ("gate terms",), ("supervised",)
    ),
    "mend-score-terms": Variant(
        _GATE_LOSS, "cross entropy reads the gates' scores before their softmax", ("score terms",), ("supervised",)
    ),
    "mend-loss": Variant(
        "losses",
        "cross entropy on the logits of both scores stands in place of the two soft-margin terms",
        ("event term", "gate terms", "score terms"),
        ("weakly",),
    ),
    "mend-pooling": Variant(
        "localization", "seconds are scored, and pooled by their probability of an event", ("pooling",), ("weakly",)
    ),
    "mend-decision": Variant(
        "localization",
        "a second is an event by its own scores: the video's best event against background",
        ("event of a second",),
        ("weakly",),
    ),
    "mend-gates": Variant(
        f"{_CMGCI}, unimodal gates",
        "unimodal gates are wired as in the supervised setting",
        ("unimodal gates",),
        ("weakly",),
    ),
}


def variants_of(setting: str) -> dict[str, Variant]:
    """The variants of a setting by name, in the order of ``VARIANTS``."""
    return {name: variant for name, variant in VARIANTS.items() if setting in variant.settings}


def sorted_variants(names: Sequence[str]) -> tuple[str, ...]:
    """Names in the order of ``VARIANTS``, so that a combination is written in one way.

    Raises:
        TypeError, ValueError: not names of variants, a name twice, or two that touch the same thing.
    """
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"variant is {short_repr(names)}, expected a list of names of variants")
    for name in names:
        if name not in VARIANTS:
            raise ValueError(f"variant is {short_repr(name)}, expected names of {', '.join(VARIANTS)}")
        if list(names).count(name) > 1:
            raise ValueError(f"variant names {name} twice, expected each name once")
    for one, other in combinations(names, 2):
        if shared := [each for each in VARIANTS[one].touches if each in VARIANTS[other].touches]:
            raise ValueError(f"variants {one} and {other} both change the {shared[0]}: give one of them")
    return tuple(name for name in VARIANTS if name in names)


def check_setting(names: Iterable[str], setting: str) -> None:
    """Raise a ``ValueError`` that names the variant and the setting unless the setting has all these variants."""
    for name in names:
        if setting not in VARIANTS[name].settings:
            raise ValueError(
                f"the {setting} setting has no variant {name}, expected names of {', '.join(variants_of(setting))}"
            )
