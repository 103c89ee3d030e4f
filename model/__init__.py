"""MAGAN, the Modality-Aware Gated Attention Network, and prediction with it or another network."""

from model.config import MAGANConfig
from model.prediction import Event, Prediction, TrainedNetwork, load_network
from model.supervised import SupervisedMAGAN, SupervisedOutputs
from model.weakly import WeaklySupervisedMAGAN, WeaklySupervisedOutputs

load_magan = load_network  # its name in releases 1.x

__all__ = [
    "Event",
    "MAGANConfig",
    "Prediction",
    "SupervisedMAGAN",
    "SupervisedOutputs",
    "TrainedNetwork",
    "WeaklySupervisedMAGAN",
    "WeaklySupervisedOutputs",
    "load_magan",
    "load_network",
]
