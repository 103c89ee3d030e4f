"""Warm-up of the learning rate, and the warning that a network learns nothing."""

import csv
import json
import signal

import pytest
import torch

from dataset.synthetic import SyntheticAVE, write_synthetic_ave
from engine.learning import learns_nothing
from tests.conftest import CONFIGS, SCRIPTS
from tests.evaluations import evaluation_of
from tests.processes import ROOT, Process
from tests.reference import seeded


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


def test_network_that_names_no_better_than_one_guess_learns_nothing():
    truth = torch.tensor([[0, 0], [0, 2], [1, 2], [1, 1], [2, 2]])  # the last video has no event
    one_guess = evaluation_of(torch.zeros(5, 2, dtype=torch.int64), truth, 2)
    assert learns_nothing(one_guess, 100)
    assert not learns_nothing(one_guess, 99)
    assert not learns_nothing(evaluation_of(truth, truth, 2), 5000)
    alike = evaluation_of(truth[[0, 1, 0, 1]], truth[[0, 1, 0, 1]], 2)  # all show one event, which one guess names
    assert not learns_nothing(alike, 5000)
    assert not learns_nothing(evaluation_of(torch.zeros(5, 2, dtype=torch.int64), truth, 20), 5000)  # few videos


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "rate", "warned"), [("weakly", 1e-9, 1), ("supervised", 3e-4, 0)])
def test_run_that_learns_nothing_says_so(run, small_config, tmp_path, setting, rate, warned):
    """Over 100 steps and more, on two events."""
    (tmp_path / "data").mkdir()
    generator = SyntheticAVE(2, signal=2, map_size=2, seed=1, widths=(64, 32))
    write_synthetic_ave(tmp_path / "data", generator, generator.annotations(60), 3, "float16")
    config = json.loads(small_config(setting).read_text())
    del config["model"]["visual_dim"], config["model"]["audio_dim"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    arguments = ("--gpu", "cpu", "--data_root", tmp_path / "data", "--config", tmp_path / "config.json", "--lr", rate)
    result = run(SCRIPTS[setting], *arguments, "--snapshot_pref", tmp_path / "run", "--b", 2, "--n_epoch", 5)
    assert result.stderr.count("it learns nothing. Try a smaller --lr, --warmup_steps 100, or") == warned


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_configs_have_no_warm_up(setting):
    assert json.loads((ROOT / "configs" / CONFIGS[setting]).read_text())["training"]["warmup_steps"] == 0
