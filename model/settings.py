"""The network of each setting."""

from model.supervised import SupervisedMAGAN
from model.weakly import WeaklySupervisedMAGAN

MODELS = {model.setting: model for model in (SupervisedMAGAN, WeaklySupervisedMAGAN)}
