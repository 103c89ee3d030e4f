"""MAGAN, the Modality-Aware Gated Attention Network."""

from model.config import MAGANConfig
from model.prediction import Event, Prediction, TrainedMAGAN, load_magan
from model.supervised import SupervisedMAGAN, SupervisedOutputs
from model.weakly import WeaklySupervisedMAGAN, WeaklySupervisedOutputs

MODELS = {model.setting: model for model in (SupervisedMAGAN, WeaklySupervisedMAGAN)}

__all__ = [
    "MODELS",
    "Event",
    "MAGANConfig",
    "Prediction",
    "SupervisedMAGAN",
    "SupervisedOutputs",
    "TrainedMAGAN",
    "WeaklySupervisedMAGAN",
    "WeaklySupervisedOutputs",
    "load_magan",
]
