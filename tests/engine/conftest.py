"""A trainer on the small data folder, which writes nothing."""

import math
from collections.abc import Callable

import pytest
import torch

from configs import load_config
from dataset import AVEFolder, Batch
from dataset.batches import Batches
from engine.device.distributed import Ranks
from engine.feeds import ResidentFeed
from engine.training import Feeds, Trainer
from model.registry import NETWORKS, network_config
from utils.arithmetic import parameter_dtype


@pytest.fixture(scope="session")
def make_trainer(data_root, small_config) -> Callable[..., Trainer]:
    """Make the trainer of a setting with features held on ``device``: batches of 20, and a last one that is smaller."""

    def make(setting: str, precision: str, device: str = "cpu", **training: object) -> Trainer:
        network = NETWORKS["magan"][setting]
        values = {"precision": precision, "batch_size": 20, "print_freq": 1000, **training}
        values["event_threshold"] = network.event_threshold
        config = load_config(small_config(setting)).with_values(values, "test")
        torch.manual_seed(0)
        model = network(network_config(network, config)).to(device, parameter_dtype(precision))
        folder = AVEFolder(data_root, model.config, parameter_dtype(precision))
        train = folder.weakly_labelled() if setting == "weakly" else folder.split("train")
        datasets, size = (train, folder.split("val"), folder.split("test")), config.training.batch_size
        feeds = [
            ResidentFeed(dataset, Batches(len(dataset), size, seed), torch.device("cpu"))
            for dataset, seed in zip(datasets, (1, None, None), strict=True)
        ]
        for feed in feeds:  # loaded on the CPU: that the features are finite is a value, which meta has not
            feed.held = Batch(*(tensor.to(device) for tensor in feed.held))
        return Trainer(model, config, Feeds(*feeds), None, [], torch.device(device), math.inf, Ranks(), False)

    return make
