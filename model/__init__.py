"""MAGAN, the Modality-Aware Gated Attention Network."""

from model.config import MAGANConfig
from model.supervised import SupervisedMAGAN, SupervisedOutputs
from model.weakly import WeaklySupervisedMAGAN, WeaklySupervisedOutputs

MODELS = {model.setting: model for model in (SupervisedMAGAN, WeaklySupervisedMAGAN)}

__all__ = [
    "MODELS",
    "MAGANConfig",
    "SupervisedMAGAN",
    "SupervisedOutputs",
    "WeaklySupervisedMAGAN",
    "WeaklySupervisedOutputs",
]
