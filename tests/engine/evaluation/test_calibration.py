"""The event threshold that is chosen on val, and where it is kept."""

import csv
import json

import numpy as np
import pytest
import torch

from configs import load_config
from engine.evaluation import Evaluation
from engine.evaluation.calibration import calibrated_threshold
from model import load_magan
from tests.conftest import CONFIGS
from tests.processes import ROOT


def evaluation(probability, best_class, truth):
    return Evaluation(truth, truth, torch.as_tensor(probability, dtype=torch.float64), 3, best_class=best_class)


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_gives_a_higher_accuracy(seed):
    random = np.random.default_rng(seed)
    truth = torch.from_numpy(random.integers(0, 4, (5, 6)))
    best = torch.from_numpy(random.integers(0, 3, (5, 1))).expand(5, 6)
    probability = random.choice([0.0, 0.1, 0.25, 0.5, 0.75, 1.0], (5, 6))  # many ties, and both ends
    split = evaluation(probability, best, truth)
    threshold = calibrated_threshold(split)
    assert 0 < threshold < 1
    assert split.with_threshold(threshold).accuracy == max(
        split.with_threshold(each).accuracy for each in np.linspace(0.001, 0.999, 999)
    )


def test_threshold_lies_between_two_probabilities_and_is_the_lowest_of_equals():
    truth = torch.tensor([[0, 0, 3, 3, 3]])
    split = evaluation([[0.8, 0.6, 0.2, 0.1, 0.1]], torch.zeros(1, 5, dtype=torch.int64), truth)
    assert calibrated_threshold(split) == pytest.approx(0.4)
    everything = evaluation([[0.8, 0.6, 0.2]], torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3).long())
    assert calibrated_threshold(everything) == pytest.approx(0.1)
    nothing = evaluation([[0.8, 0.6, 0.2]], torch.zeros(1, 3, dtype=torch.int64), torch.full((1, 3), 3))
    assert calibrated_threshold(nothing) == pytest.approx(0.9)


@pytest.fixture(scope="module")
def calibrated_run(tmp_path_factory, run, data_root, small_config):
    folder = tmp_path_factory.mktemp("calibrated")
    config = json.loads(small_config("weakly").read_text())
    config["model"]["variant"] = ["mend-decision"]
    config["training"]["calibrate"] = "val"
    (folder / "config.json").write_text(json.dumps(config))
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--config", folder / "config.json")
    run("weakly_main.py", *arguments, "--snapshot_pref", folder / "run")
    return folder / "run"


def rows_of(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_best_checkpoint_keeps_the_threshold_and_is_evaluated_with_it(run, data_root, calibrated_run):
    best = torch.load(calibrated_run / "best.pth.tar", weights_only=True)
    row = rows_of(calibrated_run)[best["scores"]["epoch"] - 1]
    threshold = best["config"]["model"]["event_threshold"]
    assert threshold == float(row["event_threshold"])
    measured = {name: value for name, value in best["scores"].items() if name != "epoch" and value is not None}
    assert {"val_auc", "val_background_recall", "test_accuracy"} <= measured.keys()
    assert {name: float(row[name]) for name in measured} == pytest.approx(measured)
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--evaluate", "--resume", calibrated_run / "best.pth.tar")
    for split in ("val", "test"):
        result = run("weakly_main.py", *arguments, "--split", split)
        assert result.stdout == f"Evaluation results (acc): {float(row[f'{split}_accuracy']):.4f}%.\n"
    model = load_magan(calibrated_run / "best.pth.tar")
    assert model.network.config.event_threshold == threshold


def test_calibrated_run_resumes_exactly(run, data_root, calibrated_run, tmp_path):
    config = calibrated_run.parent / "config.json"
    arguments = ("--gpu", "cpu", "--data_root", data_root)
    run("weakly_main.py", *arguments, "--config", config, "--snapshot_pref", tmp_path, "--n_epoch", 1)
    run("weakly_main.py", *arguments, "--resume", tmp_path / "last.pth.tar", "--n_epoch", 3)
    times = {"seconds", "videos_per_s"}
    for ours, theirs in zip(rows_of(tmp_path), rows_of(calibrated_run), strict=True):
        assert {k: v for k, v in ours.items() if k not in times} == {k: v for k, v in theirs.items() if k not in times}


def test_calibration_of_a_finished_checkpoint_is_refused(run, tmp_path):
    result = run("weakly_main.py", "--evaluate", "--resume", "best.pth.tar", "--calibrate", "val", status=2)
    assert "--calibrate belongs to training" in result.stderr


def test_localizing_config_is_the_published_one_with_its_decision_mended():
    published = load_config(ROOT / "configs" / CONFIGS["weakly"]).as_dict()
    published["model"]["variant"] = ["mend-decision"]
    published["training"]["calibrate"] = "val"
    assert load_config(ROOT / "configs" / "weak_localizing.json").as_dict() == published
