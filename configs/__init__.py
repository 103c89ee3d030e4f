"""Hyperparameters and the command line of the entry scripts."""

from configs.config import (
    CONFIGS,
    PRECISIONS,
    ROOT,
    SCOPES,
    SCRIPTS,
    SETTING_NAMES,
    Config,
    TrainingConfig,
    load_config,
    parse_config,
)
from configs.options import AUTO, FEEDS, SPLITS, Options, parse_options
