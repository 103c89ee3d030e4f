"""The authors' checkpoint files: how their parameters map onto ours.

A published file is an ordered dict of tensors, float64, whose keys begin with ``module.``. Some of its entries belong
to layers that no forward pass uses, or that never receive a gradient; our network has no such layers and ignores them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from model.network import Network

PREFIX = "module."
WRAPPERS = ("state_dict", "model", "model_state_dict")
_OWN_LAYER = "visual_spatial_channel_att."  # which only their network has

# Their entries that affect no output: templates of layers that were deep-copied, a decoder self-attention,
# v_fc, two norms, and the spatial attention of the visual-to-audio branch, whose softmax runs over a single position.
UNUSED = (
    "v_fc.",
    "visual_norm.",
    "audio_norm.",
    "visual_encoder.encoder_layer.",
    "audio_encoder.encoder_layer.",
    "visual_decoder.decoder_layer.",
    "audio_decoder.decoder_layer.",
    "visual_decoder.decoder.layers.0.self_attn.",
    "audio_decoder.decoder.layers.0.self_attn.",
    "audio_spatial_channel_att.affine_audio_a",
    "audio_spatial_channel_att.affine_a_s_att.",
    "audio_spatial_channel_att.affine_visual_v1.",
    "audio_spatial_channel_att.affine_v_s_att.",
)


def _transformer_block(ours: str, theirs: str, attention: str, feed_forward: str, their_attention: str) -> dict:
    """One attention and one feed-forward block, as in an encoder layer and in a decoder."""
    return {
        f"{ours}.{attention}.attention": (f"{theirs}.{their_attention}",),
        f"{ours}.{attention}.norm": (f"{theirs}.norm1",),
        f"{ours}.{feed_forward}.expand": (f"{theirs}.linear1",),
        f"{ours}.{feed_forward}.contract": (f"{theirs}.linear2",),
        f"{ours}.{feed_forward}.norm": (f"{theirs}.norm2",),
    }


def _temporal(modality: str) -> dict:
    """One modality's encoder and decoder."""
    encoder, decoder = f"temporal_relations.{modality}_encoder", f"temporal_relations.{modality}_decoder"
    their_layers = f"{modality}_encoder.encoder.layers"
    return {
        f"{encoder}.linear": (f"{modality}_encoder.affine_matrix",),
        **_transformer_block(f"{encoder}.layers.0", f"{their_layers}.0", "0", "1", "self_attn"),
        **_transformer_block(f"{encoder}.layers.1", f"{their_layers}.1", "0", "1", "self_attn"),
        f"{decoder}.linear": (f"{modality}_decoder.affine_matrix",),
        **_transformer_block(
            decoder, f"{modality}_decoder.decoder.layers.0", "attention", "feed_forward", "multihead_attn"
        ),
    }


# Our layer: theirs. If one of ours computes several of theirs as one product, their rows are stacked in this order.
LAYERS = {
    "refine_visual.norm": ("self_att_visual_norm",),
    "refine_visual.attention": ("visual_self_attention",),
    "refine_visual.linear": ("self_att_visual_mlp.0",),
    "refine_audio.norm": ("self_att_audio_norm",),
    "refine_audio.attention": ("audio_self_attention",),
    "refine_audio.linear": ("self_att_audio_mlp.0",),
    "co_attention.visual_projection": (
        "visual_spatial_channel_att.affine_visual_channel",
        "audio_spatial_channel_att.affine_visual_channel",
        "visual_spatial_channel_att.affine_visual_v2",
    ),
    "co_attention.audio_projection": (
        "visual_spatial_channel_att.affine_audio_channel",
        "audio_spatial_channel_att.affine_audio_channel",
        "visual_spatial_channel_att.affine_audio_a1",
    ),
    "co_attention.audio_to_visual.channel_attention.squeeze": ("visual_spatial_channel_att.affine_channel_bottleneck",),
    "co_attention.audio_to_visual.channel_attention.expand": ("visual_spatial_channel_att.affine_channel_att",),
    "co_attention.audio_to_visual.pooled_guide": ("visual_spatial_channel_att.affine_visual_v1",),
    "co_attention.audio_to_visual.attended_regions": ("visual_spatial_channel_att.affine_visual_v3",),
    "co_attention.audio_to_visual.visual_attention.score": ("visual_spatial_channel_att.affine_v_s_att",),
    "co_attention.audio_to_visual.audio_guided_attention.score": ("visual_spatial_channel_att.affine_a_s_att",),
    "co_attention.audio_to_visual": ("visual_spatial_channel_att",),  # beta
    "co_attention.visual_to_audio.channel_attention.squeeze": ("audio_spatial_channel_att.affine_channel_bottleneck",),
    "co_attention.visual_to_audio.channel_attention.expand": ("audio_spatial_channel_att.affine_channel_att",),
    "co_attention.visual_to_audio": ("audio_spatial_channel_att",),  # beta
    "temporal_relations.visual_lstm": ("audio_visual_rnn_layer.visual_rnn",),
    "temporal_relations.audio_lstm": ("audio_visual_rnn_layer.audio_rnn",),
    **_temporal("visual"),
    **_temporal("audio"),
    "co_interaction.visual_interaction.attention.attention": ("AVInter.visual_multihead",),
    "co_interaction.visual_interaction.attention.norm": ("AVInter.norm1",),
    "co_interaction.audio_interaction.attention.attention": ("VAInter.visual_multihead",),
    "co_interaction.audio_interaction.attention.norm": ("VAInter.norm1",),
    "co_interaction.unimodal_gates.audio_gate": ("audio_gated.fc",),
    "co_interaction.unimodal_gates.visual_gate": ("visual_gated.fc",),
    "co_interaction.unimodal_gates.audio_events": ("audio_cas",),
    "co_interaction.unimodal_gates.visual_events": ("visual_cas",),
    "co_interaction.multimodal_gate.squeeze": ("global_av_gate.fc1",),
    "co_interaction.multimodal_gate.gate": ("global_av_gate.fc2",),
    "co_interaction.multimodal_events": ("global_gate_cas",),
    "localization.is_event": ("localize_module.classifier",),
    "localization.event": ("localize_module.event_classifier",),
}


class Part(NamedTuple):
    """The part of our state dict that corresponds to one of their entries."""

    key: str  # of our state dict
    rows: slice  # of our tensor


def published_weights(contents: object) -> dict[str, Tensor] | None:
    """The weights of the authors in a loaded file, under their full names; None if it holds none.

    The names may lack the prefix ``module.``, and the weights may be an entry of a larger dict (``WRAPPERS``), as users
    keep them beside an epoch or a score. Nothing else in that dict is read.
    """
    if not isinstance(contents, Mapping):
        return None
    for found in (contents, *(contents.get(name) for name in WRAPPERS)):
        if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
            continue
        weights = {PREFIX + str(name).removeprefix(PREFIX): value for name, value in found.items()}
        if len(weights) == len(found) and any(name.startswith(f"{PREFIX}{_OWN_LAYER}") for name in weights):
            return weights
    return None


def published_setting(contents: Mapping[str, Tensor]) -> str:
    """The setting of a published file: only the weakly-supervised one scores background as a 29th class."""
    classifier = contents.get(f"{PREFIX}localize_module.event_classifier.weight")
    if classifier is not None and classifier.ndim == 2:
        return "weakly" if len(classifier) == 29 else "supervised"
    return "supervised" if f"{PREFIX}v_fc.weight" in contents else "weakly"


def published_parts(model: Network) -> dict[str, Part]:
    """The part of our parameters for each of their entries that affects an output, by its name without prefix."""
    parts = {}
    for key, tensor in model.state_dict().items():
        layer, name = key.rsplit(".", 1)
        if layer.endswith(".out_proj"):
            layer, name = layer.removesuffix(".out_proj"), f"out_proj.{name}"
        theirs = LAYERS[layer]
        widths = model.co_attention.visual_projection.widths if len(theirs) > 1 else (len(tensor),)
        start = 0
        for their_layer, width in zip(theirs, widths, strict=True):
            parts[f"{their_layer}.{name}"] = Part(key, slice(start, start + width))
            start += width
    return parts


def from_published(contents: Mapping[str, Tensor], model: Network) -> dict[str, Tensor]:
    """Our state dict for ``model`` from the contents of a published file.

    Raises:
        ValueError: ``model`` is a variant; or entries are missing, unknown or of the wrong shape; the message lists
            them all.
    """
    if model.config.variant:  # some have the same parameters
        raise ValueError(f"published weights are those of the full network, not of {', '.join(model.config.variant)}")
    state = {key: torch.empty(tensor.shape, dtype=torch.float64) for key, tensor in model.state_dict().items()}
    problems = []
    parts = published_parts(model)
    for published_key, part in parts.items():
        found = contents.get(PREFIX + published_key)
        target = state[part.key][part.rows]
        if found is None:
            problems.append(f"{PREFIX}{published_key}: missing, expected shape {tuple(target.shape)}")
        elif found.shape != target.shape:
            problems.append(f"{PREFIX}{published_key}: shape {tuple(found.shape)}, expected {tuple(target.shape)}")
        else:
            target.copy_(found)
    for key in contents:
        name = key.removeprefix(PREFIX)
        if name not in parts and not name.startswith(UNUSED):
            problems.append(f"{key}: not an entry of a published {model.setting} checkpoint")
    if problems:
        raise ValueError(f"{len(problems)} entries do not fit:\n  " + "\n  ".join(problems))
    return state
