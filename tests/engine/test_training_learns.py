"""Training learns: what small networks make of unseen videos, and that each of their steps is that of the loss.

The bounds come from ten runs per network, each with its own seed of data and training: 160 training videos and 64 noisy
ones of eight events, four epochs; 140 test videos. Measures of the test split, lowest, mean and highest:

                                     localization AUC      videos named right, %
    supervised                       0.938  0.960  0.983   97.9  98.8  100.0
    the same, visual-only            0.804  0.861  0.910   92.9  96.4   98.6
    what the sound adds to it        0.054  0.099  0.143
    weakly, as published             0.157  0.345  0.535   77.9  86.6   99.3
    weakly, weak_localizing.json     0.714  0.841  0.896   95.0  98.2   99.3

Chance is an AUC of 0.5, and 12.5 % named right.
"""

import copy
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.synthetic import SyntheticAVE, write_synthetic_ave
from tests.conftest import AUDIO_DIM, SCRIPTS, SMALL, VISUAL_DIM, Run
from tests.processes import ROOT
from tests.reference import seeded

EVENTS = 8
TRAINING = {"lr": 3e-3, "batch_size": 16, "n_epoch": 4, "eval_freq": 4, "num_workers": 0}


class HalfToTest(SyntheticAVE):
    """Tests on nearly as many videos as it trains on, so that chance moves the measures little."""

    def splits(self, num_videos: int) -> dict[str, np.ndarray]:
        order = np.random.default_rng(self.seed).permutation(num_videos)
        return dict(zip(("train", "val", "test"), np.split(order, [160, 180]), strict=True))


def write_data(folder: Path, seed: int) -> None:
    folder.mkdir()
    generator = HalfToTest(EVENTS, signal=2, map_size=2, seed=seed, widths=(VISUAL_DIM, AUDIO_DIM))
    write_synthetic_ave(folder, generator, generator.annotations(320), 64, "float16")


def train(run: Run, data: Path, folder: Path, seed: int, config: str, *variant: str) -> None:
    """Run a small network of a config of the repository to its end, as its user does."""
    contents = json.loads((ROOT / "configs" / config).read_text())
    contents["model"] |= {"visual_dim": VISUAL_DIM, "audio_dim": AUDIO_DIM, "num_events": EVENTS, **SMALL}
    contents["model"]["variant"] += variant
    contents["training"] |= {**TRAINING, "seed": seed}
    path = folder.with_name(f"{folder.name}.json")
    path.write_text(json.dumps(contents))
    script = SCRIPTS["supervised" if config == "main.json" else "weakly"]
    run(script, "--gpu", "cpu", "--data_root", data, "--config", path, "--snapshot_pref", folder)


def measures_on_test(folder: Path) -> dict[str, float]:
    """The measures of the last epoch of a run on its test split, without their prefix."""
    with open(folder / "metrics.csv", newline="") as file:
        *_, last = csv.DictReader(file)
    return {name.removeprefix("test_"): float(value) for name, value in last.items() if name.startswith("test_")}


@pytest.fixture(scope="session")
def learned(made_once, run) -> Callable[..., dict[str, float]]:
    """The measures on the test split of a small network of a config, with variants, after training."""

    def learn(config: str, *variant: str) -> dict[str, float]:
        data = made_once("data-to-learn", lambda folder: write_data(folder, seed=0))
        name = "-".join(("learned", config, *variant))
        return measures_on_test(made_once(name, lambda folder: train(run, data, folder, 0, config, *variant)))

    return learn


def test_supervised_network_names_and_places_the_events_of_unseen_videos(learned):
    measures = learned("main.json")
    assert measures["named"] > 80
    assert measures["auc"] > 0.88


def test_supervised_network_needs_the_sound(learned):
    assert learned("main.json")["auc"] > learned("main.json", "visual-only")["auc"] + 0.02


def test_weakly_supervised_network_as_published_names_events_and_does_not_place_them(learned):
    measures = learned("weak.json")
    assert measures["named"] > 50
    assert measures["auc"] < 0.65


def test_localizing_option_places_events_from_video_labels_alone(learned):
    measures = learned("weak_localizing.json")
    assert measures["named"] > 80
    assert measures["auc"] > 0.65


# ------------------------------------------------------------------------------------------------ step by step


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_epoch_is_steps_of_adam_on_the_clipped_gradient_of_the_whole_loss(make_trainer, setting):
    """By PyTorch's own Adam, with the same dropout."""
    trainer = make_trainer(setting, "fp64", lr=1e-3, clip_gradient=1e-3)
    model = copy.deepcopy(trainer.model).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    torch.manual_seed(1)
    for batch in trainer.feeds.train.epoch(1):
        loss = model.loss(model(batch.visual.double(), batch.audio.double()), batch.labels.double())["loss"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
    torch.manual_seed(1)
    trainer.train_epoch()
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter, model.get_parameter(name), rtol=0, atol=1e-8, msg=name)


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_evaluation_in_training_draws_no_random_number_and_changes_no_weight(make_trainer, setting):
    trainer = make_trainer(setting, "fp32", n_epoch=1)
    trainer.train_epoch()
    weights, random = copy.deepcopy(trainer.model.state_dict()), torch.get_rng_state()
    first, second = trainer.evaluate("test"), trainer.evaluate("test")
    assert torch.equal(first.decisions.event_probability, second.decisions.event_probability)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(weight, weights[name]) for name, weight in trainer.model.state_dict().items())
