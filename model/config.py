"""The hyperparameters of MAGAN."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from configs.config import SCOPES
from configs.values import require
from configs.variants import check_setting, sorted_variants
from model.network import NetworkConfig

Part = TypeVar("Part")


@dataclass(frozen=True)
class MAGANConfig(NetworkConfig):
    """Hyperparameters of MAGAN; the defaults are the published ones, except for the attention scope.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range; the message names it and what was expected.
    """

    setting = None  # whose variants it may name; None: those of both

    d_model: int = 256  # width of everything after co-attention
    num_heads: int = 4  # of every attention
    encoder_hidden: int = 1024  # feed-forward width of the temporal encoders
    decoder_hidden: int = 1024  # feed-forward width of the temporal decoders
    top_segments: int = 4  # segments averaged into a video's score, or all if it has fewer
    alpha: float = 0.1  # strength of the unimodal gates
    refine_attention_dropout: float = 0.1
    refine_dropout: float = 0.2
    temporal_dropout: float = 0.1
    interaction_attention_dropout: float = 0.2
    interaction_dropout: float = 0.1
    # The extent of the refinement's self-attention. "video": over the regions of a segment, the segments of a video.
    # "batch": as in the published code, over all segments of the batch, and all videos of the batch.
    scope: str = "video"
    variant: tuple[str, ...] = ()  # parts left out or mended, by name; configs/variants.py lists them

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "variant", sorted_variants(self.variant))
        if self.setting:
            check_setting(self.variant, self.setting)
        for name in (each.name for each in fields(self) if each.name.endswith("dropout")):
            require(self, name, lambda share: 0 <= share < 1, "at least 0 and less than 1")
        heads = self.num_heads
        for name in ("visual_dim", "audio_dim", "d_model"):
            require(self, name, lambda width: width % heads == 0, f"a multiple of num_heads ({heads})")
        require(self, "alpha", lambda alpha: 0 <= alpha <= 1, "0 to 1")
        require(self, "scope", lambda scope: scope in SCOPES, f"one of {', '.join(SCOPES)}")

    def choose(self, part: Part, instead: Mapping[str, Part]) -> Part:
        """A part of the network, or what stands in its place in the variant.

        Both are made, so that what a variant keeps starts with the weights that it has in the whole network.
        """
        return next((other for name, other in instead.items() if name in self.variant), part)


@dataclass(frozen=True)
class SupervisedConfig(MAGANConfig):
    """Of the fully supervised setting."""

    setting = "supervised"


@dataclass(frozen=True)
class WeaklySupervisedConfig(MAGANConfig):
    """Of the weakly-supervised setting, with its published width."""

    setting = "weakly"
    encoder_hidden: int = 2048
