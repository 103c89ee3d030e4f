"""Hyperparameters and the command line of the entry scripts."""

from configs.config import (
    CONFIGS,
    PUBLISHED_VALUES,
    ROOT,
    SCRIPTS,
    SETTING_NAMES,
    Config,
    TrainingConfig,
    load_config,
    parse_config,
)
from configs.network import PRECISIONS, SCOPES, MAGANConfig
from configs.options import AUTO, FEEDS, SPLITS, Options, parse_options
