"""Networks with the seeded weights behind the published values."""

import functools
from collections.abc import Callable

import pytest

from model import MAGANConfig
from model.magan import MAGAN
from model.published import from_published
from model.registry import NETWORKS
from tests.reference import seeded

SETTING_VALUES = {
    "supervised": {},
    "weakly": {"encoder_hidden": 2048},
}
NO_DROPOUT = {
    "refine_attention_dropout": 0.0,
    "refine_dropout": 0.0,
    "temporal_dropout": 0.0,
    "interaction_attention_dropout": 0.0,
    "interaction_dropout": 0.0,
}

published_checkpoint = functools.cache(seeded.published_checkpoint)
inputs = functools.cache(seeded.inputs)


@pytest.fixture
def config() -> Callable[..., MAGANConfig]:
    """The published hyperparameters of a setting, with changes."""
    return lambda setting, **changes: MAGANConfig(**SETTING_VALUES[setting], **changes)


@pytest.fixture
def seeded_model(config) -> Callable[..., MAGAN]:
    """A float64 network in evaluation mode with the seeded weights."""

    def build(setting: str, scope: str, **changes: float) -> MAGAN:
        model = NETWORKS["magan"][setting](config(setting, scope=scope, **changes)).double()
        model.load_state_dict(from_published(published_checkpoint(setting), model))
        return model.eval()

    return build
