"""Warm-up of the learning rate, and the warning that a network learns nothing."""

import csv
import json
import math
import signal

import numpy as np
import pytest
import torch

from configs import MAGANConfig
from engine.learning import LearningWatch, undecided_terms
from model import MODELS
from tests.conftest import CONFIGS, SCRIPTS
from tests.processes import ROOT, Process
from tools.reference import seeded


def metrics(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def last(folder):
    return torch.load(folder / "last.pth.tar", weights_only=True)


@pytest.fixture
def arguments(data_root, small_config, tmp_path):
    """48 training videos in 6 batches of 8, the learning rate 1e-3."""

    def build(folder, *more, **training):
        config = json.loads(small_config("supervised").read_text())
        config["training"] |= training
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config))
        return ("--gpu", "cpu", "--data_root", data_root, "--config", path, "--snapshot_pref", folder, *more)

    return build


def test_learning_rate_rises_in_the_first_steps_and_then_follows_the_schedule(run, arguments, tmp_path):
    flags = ("--warmup_steps", 9, "--n_epoch", 4, "--b", 8)
    run("supv_main.py", *arguments(tmp_path / "run", *flags, lr_milestones=[2, 3]))
    rates = [float(row["lr"]) for row in metrics(tmp_path / "run")]
    assert rates == pytest.approx([1e-3 * 6 / 9, 1e-3, 5e-4, 2.5e-4])


def test_first_step_has_the_first_part_of_the_learning_rate(run, arguments, tmp_path):
    run("supv_main.py", *arguments(tmp_path / "warm", "--b", 48, "--n_epoch", 1, "--warmup_steps", 4))
    run("supv_main.py", *arguments(tmp_path / "slow", "--b", 48, "--n_epoch", 1, "--lr", 2.5e-4))
    run("supv_main.py", *arguments(tmp_path / "none", "--b", 48, "--n_epoch", 1))
    warm, slow, none = (last(tmp_path / name)["weights"] for name in ("warm", "slow", "none"))
    assert all(torch.equal(warm[name], slow[name]) for name in warm)
    assert not all(torch.equal(warm[name], none[name]) for name in warm)


def test_run_stopped_in_the_warm_up_resumes_exactly(run, arguments, tmp_path):
    flags = ("--warmup_steps", 11, "--print_freq", 1, "--b", 8)
    run("supv_main.py", *arguments(tmp_path / "whole", *flags))
    with Process("supv_main.py", *arguments(tmp_path / "stopped", *flags)) as process:
        process.read_until("epoch 1/3 [3/6]")
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    state = last(tmp_path / "stopped")["training"]
    assert state["state"]["epoch"] == 1
    assert state["optimizer"]["param_groups"][0]["lr"] == pytest.approx(1e-3 * state["state"]["iteration"] / 11)
    root = arguments(tmp_path)[3]
    run("supv_main.py", "--gpu", "cpu", "--data_root", root, "--resume", tmp_path / "stopped" / "last.pth.tar")
    whole, stopped = last(tmp_path / "whole"), last(tmp_path / "stopped")
    assert all(torch.equal(whole["weights"][name], stopped["weights"][name]) for name in whole["weights"])
    times = ("seconds", "videos_per_s")
    for ours, theirs in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "stopped"), strict=True):
        assert {k: v for k, v in ours.items() if k not in times} == {k: v for k, v in theirs.items() if k not in times}


# ---------------------------------------------------------------------------------------------------- nothing learned


class Videos:
    """What is read of a data set: a label, and the number of segments."""

    num_segments = 6

    def __init__(self, setting):
        label = torch.eye(29)[3]
        self.labels = label.expand(1, 6, 29) if setting == "supervised" else label.unsqueeze(0)


def network(setting, *variant):
    torch.manual_seed(0)
    config = MAGANConfig(visual_dim=16, audio_dim=8, d_model=8, encoder_hidden=8, decoder_hidden=8, variant=variant)
    return MODELS[setting](config).train()


def soft_margin(score):
    """Of 29 classes with this score, one of which is the video's."""
    return np.log1p(np.exp(score)) - score / 29


@pytest.mark.parametrize(
    ("setting", "variant", "expected"),
    [
        ("supervised", (), 2 * math.log(28)),
        ("supervised", ("no-unimodal-gates",), 1.5 * math.log(28)),
        ("supervised", ("no-gate-loss",), math.log(28)),
        ("supervised", ("mend-score-terms",), 2 * math.log(28)),
        ("weakly", (), soft_margin(1 / 29) + soft_margin(1 / 29**2)),
        ("weakly", ("no-multimodal-gate",), 2 * soft_margin(1 / 29)),
        ("weakly", ("no-gate-loss", "mend-pooling"), soft_margin(1 / 29)),
        ("weakly", ("mend-loss",), 2 * math.log(29)),
    ],
)
def test_loss_of_alike_scores_follows_from_the_number_of_classes(setting, variant, expected):
    model = network(setting, *variant)
    before = torch.get_rng_state()
    terms = undecided_terms(model, Videos(setting))
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert LearningWatch(model, Videos(setting)).class_loss(terms) == pytest.approx(expected, rel=1e-6)


def test_published_weak_loss_of_alike_scores_is_the_one_that_was_seen():
    """1.4025, over twelve epochs of the authors' code."""
    assert soft_margin(1 / 29) + soft_margin(1 / 29**2) == pytest.approx(1.4025, rel=0.002)


def test_warning_comes_once_and_only_where_the_loss_stands(caplog):
    watch = LearningWatch(network("weakly"), Videos("weakly"))
    stuck, learning = {"event": 0.7090, "gate": 0.6935}, {"event": 0.7060, "gate": 0.6935}
    watch.check(50, stuck, 16)
    watch.check(99, stuck, 16)
    watch.check(150, learning, 16)  # near the loss of alike scores, but falling
    watch.check(5000, {"event": 0.690, "gate": 0.6935}, 16)
    watch.check(5050, {"event": 0.690, "gate": 0.6935}, 16)  # standing, but lower
    watch.check(5100, stuck, 16)
    assert not caplog.records
    watch.check(5150, stuck, 16)
    watch.check(5200, stuck, 16)
    (record,) = caplog.records
    message = record.getMessage()
    assert "after 5150 steps" in message
    assert "stands at 1.4025" in message
    assert all(remedy in message for remedy in ("smaller --lr", "--warmup_steps 100", "batches larger than 16"))


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "rate", "warned"), [("weakly", 1e-9, 1), ("supervised", 3e-4, 0)])
def test_run_that_learns_nothing_says_so(run, data_root, small_config, tmp_path, setting, rate, warned):
    """Over 100 steps and more."""
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config(setting), "--lr", rate)
    result = run(SCRIPTS[setting], *arguments, "--snapshot_pref", tmp_path / "run", "--b", 2, "--n_epoch", 5)
    assert result.stderr.count("the network is learning none of them") == warned


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_configs_have_no_warm_up(setting):
    assert json.loads((ROOT / "configs" / CONFIGS[setting]).read_text())["training"]["warmup_steps"] == 0
