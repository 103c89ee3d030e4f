"""MAGAN, the Modality-Aware Gated Attention Network."""

from configs import MAGANConfig
from model.prediction import Event, Prediction, TrainedMAGAN, load_magan
from model.settings import MODELS
from model.supervised import SupervisedMAGAN, SupervisedOutputs
from model.weakly import WeaklySupervisedMAGAN, WeaklySupervisedOutputs

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
