"""MAGAN, the Modality-Aware Gated Attention Network: the paper's figure as code."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from configs.variants import check_setting
from model.co_attention import CoAttention, SpatialAttention
from model.co_interaction import CoInteraction, Interactions, UnimodalGates
from model.config import MAGANConfig
from model.layers.attention import MultiHeadAttention
from model.layers.streams import side_by_side
from model.localization import Localization
from model.network import Network, Observation
from model.observation import observed
from model.published import from_published, published_setting
from model.refinement import Refinement
from model.temporal_relations import Relations, TemporalRelations


class MAGAN(Network):
    """The part that both settings share. Use ``SupervisedMAGAN`` or ``WeaklySupervisedMAGAN``.

    A part that the config's variant leaves out or mends is chosen where it is made, see ``MAGANConfig.choose``.

    ``num_classes`` is K, the number of classes that the setting scores, background included if it is scored as a class.
    """

    published_values: ClassVar = {"scope": "batch", "precision": "fp64", "test_batch_size": 16}

    def __init__(
        self,
        config: MAGANConfig,
        unimodal_gates: UnimodalGates,
        num_classes: int,
        localization: type[Localization],
    ) -> None:
        check_setting(config.variant, self.setting)
        super().__init__(config)
        self.mixes_videos = config.scope == "batch"

        # ---------------------------------------------------------------------------------------- refine
        refine_visual, refine_audio = Refinement(config, config.visual_dim), Refinement(config, config.audio_dim)
        self.refine_visual = config.choose(refine_visual, {"no-refine-visual": nn.Identity()})
        self.refine_audio = config.choose(refine_audio, {"no-refine-audio": nn.Identity()})

        # ---------------------------------------------------------------------------------------- co-attend
        self.co_attention = CoAttention(config)

        # ---------------------------------------------------------------------------------------- relate in time
        self.temporal_relations = TemporalRelations(config)

        # ---------------------------------------------------------------------------------------- co-interact
        self.co_interaction = CoInteraction(config, unimodal_gates, num_classes)

        # ---------------------------------------------------------------------------------------- localize
        self.localization = localization(config.d_model, num_classes)

    def forward(self, visual: Tensor, audio: Tensor) -> NamedTuple:
        """Localise the event of each video; gives the setting's named outputs.

        Args:
            visual: (b, t, h, w, 512), VGG-19 pool5 maps; any h and w.
            audio: (b, t, 128), VGGish embeddings; any t.

        Raises:
            ValueError: a shape that does not fit; the message names it and what was expected.
        """
        self._check_inputs(visual, audio)
        v, a = self.refine(visual, audio)  # (b, t, r, 512), (b, t, 128)
        v, a = self.co_attend(v, a)  # (b, t, 512) each
        relations = self.relate_in_time(v, a)  # (b, t, 256) each
        interactions = self.co_interact(relations)
        return self.localize(interactions)

    def refine(self, visual: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """Self-attention within each modality: (b, t, h, w, 512) to (b, t, r, 512), and (b, t, 128)."""
        if "audio-only" in self.config.variant:
            visual = torch.zeros_like(visual)
        if "visual-only" in self.config.variant:
            audio = torch.zeros_like(audio)
        regions = visual.flatten(2, 3)  # (b, t, r, 512)
        refined, audio = side_by_side(self.refine_visual, [regions.flatten(0, 1)], self.refine_audio, [audio])
        return refined.view(regions.shape), audio

    def co_attend(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-modal gated co-attention within each segment: (b, t, r, 512) and (b, t, 128) to (b, t, 512) each."""
        b, t = a.shape[:2]
        visual, audio = self.co_attention(v.flatten(0, 1), a.flatten(0, 1))  # (b * t, 512) each
        return visual.view(b, t, -1), audio.view(b, t, -1)

    def relate_in_time(self, v: Tensor, a: Tensor) -> Relations:
        """Temporal relations within and between the modalities of each video: (b, t, 512) each to (b, t, 256) each."""
        return self.temporal_relations(v, a)

    def co_interact(self, relations: Relations) -> Interactions:
        """Cross-modal gated co-interaction: the fused features (b, t, 256), the gates (b, t) and the scores (b, K)."""
        return self.co_interaction(relations)

    def localize(self, interactions: Interactions) -> NamedTuple:
        """The setting's outputs from the gated features."""
        raise NotImplementedError

    def observed(self) -> AbstractContextManager[Callable[[NamedTuple], Observation]]:
        """Record attention and gates while the network runs, see ``model.observation``."""
        return observed(self)

    @classmethod
    def unmixed(cls, config: MAGANConfig) -> MAGANConfig:
        return replace(config, scope="video")

    def products(self) -> dict[str, nn.Parameter]:
        """The weights and biases that go into a product as they are; some are scaled before it."""
        scaled = set()
        for module in self.modules():
            if isinstance(module, Refinement):
                scaled.update(module.attention.modules())
            elif isinstance(module, SpatialAttention):
                scaled.add(module.score)
        return {
            f"{place}.{name}": weight
            for place, module in self.named_modules()
            if isinstance(module, nn.Linear | MultiHeadAttention) and module not in scaled
            for name, weight in module.named_parameters(recurse=False)
        }

    @classmethod
    def recognizes(cls, weights: Mapping[str, Tensor]) -> bool:
        return published_setting(weights) == cls.setting

    def from_published(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return from_published(weights, self)

    def _check_inputs(self, visual: Tensor, audio: Tensor) -> None:
        config = self.config
        if visual.ndim != 5 or visual.shape[-1] != config.visual_dim or 0 in visual.shape:
            raise ValueError(
                f"visual features have shape {tuple(visual.shape)}, "
                f"expected (videos, segments, height, width, {config.visual_dim})"
            )
        if audio.ndim != 3 or audio.shape[-1] != config.audio_dim:
            raise ValueError(
                f"audio features have shape {tuple(audio.shape)}, expected (videos, segments, {config.audio_dim})"
            )
        if visual.shape[:2] != audio.shape[:2]:
            raise ValueError(
                f"visual features have {visual.shape[0]} videos of {visual.shape[1]} segments, "
                f"audio features {audio.shape[0]} of {audio.shape[1]}; expected the same"
            )
