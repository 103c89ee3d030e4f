"""What each variant of ``configs.variants`` does: a function that replaces parts of a whole network, just made.

What stays keeps the weights that it has in the whole network, so that variants of one seed start alike.
"""

from collections.abc import Callable

from torch import nn

from configs.variants import check_setting
from model.variants import co_attention, co_interaction, localization, losses, modalities, temporal_relations

CHANGES: dict[str, Callable[[nn.Module], None]] = {
    "no-refine-visual": modalities.leave_out_visual_refinement,
    "no-refine-audio": modalities.leave_out_audio_refinement,
    "no-a2v": co_attention.leave_out_audio_to_visual,
    "no-v2a": co_attention.leave_out_visual_to_audio,
    "no-channel-attention": co_attention.leave_out_channel_attention,
    "no-spatial-attention": co_attention.leave_out_spatial_attention,
    "no-audio-guidance": co_attention.leave_out_audio_guidance,
    "no-attention-gate": co_attention.leave_out_gates,
    "no-cross-modal-decoder": temporal_relations.leave_out_decoders,
    "no-interaction": co_interaction.leave_out_interaction,
    "no-unimodal-gates": co_interaction.leave_out_unimodal_gates,
    "no-multimodal-gate": co_interaction.leave_out_multimodal_gate,
    "no-gate-loss": co_interaction.leave_out_gate_loss,
    "visual-only": modalities.silence_audio,
    "audio-only": modalities.silence_visual,
    "mend-gate-terms": losses.mend_gate_terms,
    "mend-score-terms": losses.mend_score_terms,
    "mend-loss": losses.mend_loss,
    "mend-pooling": localization.mend_pooling,
    "mend-decision": localization.mend_decision,
    "mend-gates": co_interaction.mend_unimodal_gates,
}


def apply_variants(model: nn.Module) -> None:
    """Change a whole network, just made, into the variant that its config names.

    Raises:
        ValueError: its setting has no such variant.
    """
    check_setting(model.config.variant, model.setting)
    for name in model.config.variant:
        CHANGES[name](model)
