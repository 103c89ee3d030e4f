"""Hyperparameters and command-line options."""

from configs.config import Config, TrainingConfig, load_config, parse_config
from configs.options import Options, parse_options

__all__ = ["Config", "Options", "TrainingConfig", "load_config", "parse_config", "parse_options"]
