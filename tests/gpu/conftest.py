"""The GPU that ``make check-gpu`` names, and runs on it. Without that command, all of this folder is left out.

``CHECK_GPU`` is the number of the GPU. ``cpu`` runs what a CPU can show, to work on these tests.
"""

import csv
import json
import math
import os
from collections.abc import Callable

import pytest
import torch

from configs import load_config
from dataset import AVEFolder
from dataset.batches import Batches
from dataset.synthetic import SyntheticAVE, write_synthetic_ave
from engine.device.choice import choose_device
from engine.device.distributed import Ranks
from engine.feeds import make_feed
from engine.training import Feeds, Trainer
from model.registry import NETWORKS, network_config
from tests.conftest import AUDIO_DIM, CONFIGS, SCRIPTS, SMALL, VISUAL_DIM
from tests.documented import call
from tests.processes import ROOT
from tests.reference import seeded
from utils.arithmetic import parameter_dtype

GPU = os.environ.get("CHECK_GPU")
collect_ignore_glob = [] if GPU else ["test_*.py"]
VIDEOS = 5  # seeded ones in training, one batch of the whole network
NO_DROPOUT = {
    name: 0.0 for name in NETWORKS["magan"]["supervised"].Config.__dataclass_fields__ if name.endswith("dropout")
}
SPEED = pytest.StashKey[str]()  # the line at the end


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if SPEED in config.stash:
        terminalreporter.write_line(config.stash[SPEED])


@pytest.fixture(scope="session")
def device() -> torch.device:
    return choose_device(GPU, Ranks())


@pytest.fixture
def cuda(device) -> torch.device:
    if device.type != "cuda":
        pytest.skip("needs CUDA")
    return device


@pytest.fixture(scope="session")
def seeded_videos(tmp_path_factory):
    """A data folder with the seeded videos, for which the losses of the published network are known."""
    root = tmp_path_factory.mktemp("seeded-videos")
    seeded.write_ave_folder(root, {"train": VIDEOS, "val": 1, "test": 1})
    return root


@pytest.fixture(scope="session")
def small_videos(tmp_path_factory):
    """A data folder of 28 videos with narrow features, in float32."""
    root = tmp_path_factory.mktemp("small-videos")
    generator = SyntheticAVE(28, signal=2, map_size=2, seed=0, widths=(VISUAL_DIM, AUDIO_DIM))
    write_synthetic_ave(root, generator, generator.annotations(28), num_noisy=1, dtype="float32")
    return root


@pytest.fixture
def train(tmp_path, monkeypatch) -> Callable[..., list[float]]:
    """The losses of a run, a number for each epoch; the last epoch is evaluated."""

    def run(setting: str, *flags: object, name: str = "run") -> list[float]:
        folder = tmp_path / name
        common = ("--gpu", GPU, "--snapshot_pref", folder, "--lr", 1e-4, "--eval_freq", 1000)
        assert call(monkeypatch, SCRIPTS[setting], *common, *flags) == 0
        with open(folder / "metrics.csv", newline="", encoding="utf-8") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    return run


@pytest.fixture
def small_flags(small_videos, tmp_path) -> Callable[..., tuple]:
    """The flags of a run of a small network in float64, of two batches an epoch."""

    def flags(*more: object, dropout: bool = True) -> tuple:
        config = json.loads((ROOT / "configs" / CONFIGS["supervised"]).read_text())
        config["model"] |= SMALL if dropout else SMALL | NO_DROPOUT
        path = tmp_path / f"small-{dropout}.json"
        path.write_text(json.dumps(config))
        return ("--data_root", small_videos, "--config", path, "--b", 12, "--precision", "fp64", "--n_epoch", 2, *more)

    return flags


@pytest.fixture
def trainer(seeded_videos, device) -> Callable[..., Trainer]:
    """A trainer of the supervised network that writes nothing; its epochs have one batch."""

    def make(precision: str, cuda_graph: bool) -> Trainer:
        network = NETWORKS["magan"]["supervised"]
        values = {"precision": precision, "batch_size": VIDEOS, "event_threshold": network.event_threshold}
        config = load_config(ROOT / "configs" / CONFIGS["supervised"]).with_values(values, "test")
        own, dtype = network_config(network, config), parameter_dtype(precision)
        dataset = AVEFolder(seeded_videos, own, dtype).split("train")
        feed = make_feed("device", dataset, Batches(VIDEOS, VIDEOS, seed=0), 0, device)
        torch.manual_seed(0)
        model = network(own).to(device, dtype)
        return Trainer(model, config, Feeds(feed, feed, feed), None, [], device, math.inf, Ranks(), cuda_graph)

    return make
