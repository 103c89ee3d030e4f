"""The event threshold that is chosen on val or by training videos, and where it is kept."""

import csv
import json

import numpy as np
import pytest
import torch

from configs import load_config
from dataset import AVEFolder, Batch
from dataset.batches import Batches
from engine.checkpoint import save_checkpoint
from engine.evaluation import Evaluation
from engine.evaluation.calibration import PastedFeed, calibrated_threshold, threshold_of_pasted
from engine.feeds import ResidentFeed
from model import load_network
from model.network import Decisions, NetworkConfig
from tests.conftest import CONFIGS
from tests.processes import ROOT


def evaluation(probability, best_class, truth):
    classes = torch.nn.functional.one_hot(best_class, 4).double()
    decisions = Decisions(torch.as_tensor(probability, dtype=torch.float64), classes)
    return Evaluation(decisions, truth, 3, 0.5, None, {})


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_gives_a_higher_accuracy(seed):
    random = np.random.default_rng(seed)
    truth = torch.from_numpy(random.integers(0, 4, (5, 6)))
    best = torch.from_numpy(random.integers(0, 3, (5, 1))).expand(5, 6)
    probability = random.choice([0.0, 0.1, 0.25, 0.5, 0.75, 1.0], (5, 6))  # many ties, and both ends
    split = evaluation(probability, best, truth)
    threshold = calibrated_threshold(split)
    assert 0 < threshold < 1
    assert split._replace(threshold=threshold).accuracy == max(
        split._replace(threshold=each).accuracy for each in np.linspace(0.001, 0.999, 999)
    )


def test_threshold_lies_between_two_probabilities_and_is_the_lowest_of_equals():
    truth = torch.tensor([[0, 0, 3, 3, 3]])
    split = evaluation([[0.8, 0.6, 0.2, 0.1, 0.1]], torch.zeros(1, 5, dtype=torch.int64), truth)
    assert calibrated_threshold(split) == pytest.approx(0.4)
    everything = evaluation([[0.8, 0.6, 0.2]], torch.zeros(1, 3, dtype=torch.int64), torch.zeros(1, 3).long())
    assert calibrated_threshold(everything) == pytest.approx(0.1)
    nothing = evaluation([[0.8, 0.6, 0.2]], torch.zeros(1, 3, dtype=torch.int64), torch.full((1, 3), 3))
    assert calibrated_threshold(nothing) == pytest.approx(0.9)


@pytest.fixture
def training_videos(data_root, small_config):
    """The weakly-supervised training set as a feed of shuffled batches."""
    dataset = AVEFolder(data_root, NetworkConfig(visual_dim=64, audio_dim=32), torch.float32).weakly_labelled()
    yield ResidentFeed(dataset, Batches(len(dataset), 8, seed=1), torch.device("cpu"))
    dataset.close()


def test_seconds_of_videos_without_an_event_are_pasted_into_the_others(training_videos):
    plain = Batch(*map(torch.cat, zip(*training_videos.in_order(16).epoch(), strict=True)))
    for batch_size in (16, 7):  # on which nothing depends
        feed = PastedFeed(training_videos, batch_size)
        assert len(feed) == len(list(feed.epoch()))
        pasted = Batch(*map(torch.cat, zip(*feed.epoch(), strict=True)))
        noisy = plain.labels[:, -1] > 0
        assert noisy.sum() == 3
        is_background = pasted.labels[..., -1] > 0
        assert is_background[noisy].all()
        length = is_background[~noisy].sum(dim=1)
        assert (length.min(), length.max()) == (1, 5)
        assert ((is_background[~noisy].int().diff(dim=1) > 0).sum(dim=1) <= 1).all()  # a run
        assert torch.equal(pasted.labels[~is_background], plain.labels[:, None].expand(-1, 10, -1)[~is_background])
        for before, after in zip(plain[:2], pasted[:2], strict=True):
            assert torch.equal(before[noisy], after[noisy])
            changed = (before != after).flatten(2).any(dim=2)
            assert torch.equal(changed, is_background & ~noisy[:, None])
            for video, second in changed.nonzero().tolist():
                assert any(torch.equal(after[video, second], source[second]) for source in before[noisy])


def test_threshold_lies_halfway_between_known_background_and_the_rest():
    random = np.random.default_rng(0)
    truth = torch.tensor([[0, 0, 3, 3], [1, 3, 1, 1], [3, 3, 3, 3]])
    logits = random.normal(size=truth.shape)
    pasted, others = logits[[0, 0, 1], [2, 3, 1]].mean(), logits[[0, 0, 1, 1, 1], [0, 1, 0, 2, 3]].mean()
    expected = ((pasted + logits[2].mean()) / 2 + others) / 2
    split = evaluation(1 / (1 + np.exp(-logits)), truth, truth)
    assert np.log(threshold_of_pasted(split) / (1 - threshold_of_pasted(split))) == pytest.approx(expected)
    sure = evaluation(torch.where(truth < 3, 1.0, 0.0), truth, truth)  # logits that are not finite
    assert threshold_of_pasted(sure) == pytest.approx(0.5, abs=1e-4)


def test_background_of_one_kind_counts_alone_and_without_any_the_threshold_is_the_published_one():
    logits = torch.arange(8.0).reshape(2, 4)
    for truth, expected in (([[0, 0, 3, 3], [1, 3, 1, 1]], 10 / 3 / 2 + 18 / 5 / 2), ([[0] * 4, [3] * 4], 3.5)):
        threshold = threshold_of_pasted(
            evaluation(torch.sigmoid(logits.double()), torch.zeros_like(logits).long(), torch.tensor(truth))
        )
        assert np.log(threshold / (1 - threshold)) == pytest.approx(expected)
    assert threshold_of_pasted(evaluation(torch.sigmoid(logits), torch.zeros(2, 4).long(), torch.zeros(2, 4))) == 0.5


def test_without_such_videos_seconds_of_other_events_are_pasted(training_videos):
    training_videos.dataset.labels[-3:] = training_videos.dataset.labels[:3]  # the noisy videos
    training_videos.held.labels[-3:] = training_videos.held.labels[:3]
    for before, after in zip(
        training_videos.in_order(16).epoch(), PastedFeed(training_videos, 16).epoch(), strict=True
    ):
        is_background = after.labels[..., -1] > 0
        assert is_background.any(dim=1).all()
        assert torch.equal((before.audio != after.audio).any(dim=-1), is_background)
        for video, second in is_background.nonzero().tolist():
            same = [torch.equal(after.visual[video, second], source[second]) for source in before.visual]
            assert before.labels[same.index(True)].argmax() != before.labels[video].argmax()


@pytest.fixture(scope="module", params=["val", "weak"])
def calibrated_run(request, tmp_path_factory, run, data_root, small_config):
    folder = tmp_path_factory.mktemp("calibrated")
    config = json.loads(small_config("weakly").read_text())
    config["model"]["variant"] = ["mend-decision"]
    config["training"] |= {"calibrate": request.param, "select": "names" if request.param == "weak" else "val"}
    (folder / "config.json").write_text(json.dumps(config))
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--config", folder / "config.json")
    run("weakly_main.py", *arguments, "--snapshot_pref", folder / "run")
    return folder / "run"


def rows_of(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_best_checkpoint_keeps_the_threshold_and_is_evaluated_with_it(run, data_root, calibrated_run):
    best = torch.load(calibrated_run / "best.pth.tar", weights_only=True)
    assert best["event_threshold"] != 0.5
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--evaluate", "--resume", calibrated_run / "best.pth.tar")
    for split in ("val", "test"):
        result = run("weakly_main.py", *arguments, "--split", split)
        assert result.stdout == f"Evaluation results (acc): {best['scores'][f'{split}_accuracy']:.4f}%.\n"
    row = rows_of(calibrated_run)[best["scores"]["epoch"] - 1]  # its accuracies are those of the threshold 0.5
    result = run("weakly_main.py", *arguments, "--event_threshold", 0.5)
    assert result.stdout == f"Evaluation results (acc): {float(row['test_accuracy']):.4f}%.\n"
    assert {name: float(row[name]) for name in ("val_auc", "test_auc")} == pytest.approx(
        {name: best["scores"][name] for name in ("val_auc", "test_auc")}
    )
    assert load_network(calibrated_run / "best.pth.tar").threshold == best["event_threshold"]


def test_command_calibrates_any_checkpoint_as_training_does(run, data_root, calibrated_run, tmp_path):
    """From a copy whose threshold was lost."""
    best = torch.load(calibrated_run / "best.pth.tar", weights_only=True)
    copy = tmp_path / "copy.pth.tar"
    save_checkpoint(copy, {**best, "event_threshold": 0.5})
    on = best["config"]["training"]["calibrate"]
    said = run("tools.calibrate", copy, "--on", on, "--data_root", data_root, "--gpu", "cpu").stdout
    again = torch.load(copy, weights_only=True)
    assert again["event_threshold"] == best["event_threshold"]
    assert again["scores"] == pytest.approx(best["scores"])
    assert f"threshold 0.5000  threshold {best['event_threshold']:.4f}" in said


def test_best_epoch_is_that_of_the_figure_it_is_selected_by(calibrated_run):
    rows = rows_of(calibrated_run)
    select = json.loads((calibrated_run.parent / "config.json").read_text())["training"]["select"]
    figure = {"names": "val_named", "val": "val_accuracy"}[select]
    best = max(rows, key=lambda row: float(row[figure]))  # the first of equals
    scores = torch.load(calibrated_run / "best.pth.tar", weights_only=True)["scores"]
    assert scores["epoch"] == int(best["epoch"])
    assert scores["val_named"] == float(best["val_named"])


def test_video_labels_are_the_weakly_supervised_settings(run, data_root, small_config, tmp_path):
    flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config("supervised"))
    for option in (("--select", "names"), ("--calibrate", "weak")):
        result = run("supv_main.py", *flags, "--snapshot_pref", tmp_path / "run", *option, status=2)
        assert "are for training on video labels" in result.stderr
    assert not (tmp_path / "run").exists()


def test_folder_without_noisy_videos_is_calibrated_too(run, data_root, small_config, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for file in data_root.iterdir():
        if "noisy" not in file.name:
            (data / file.name).symlink_to(file)
    flags = ("--gpu", "cpu", "--data_root", data, "--config", small_config("weakly"), "--n_epoch", 1)
    run("weakly_main.py", *flags, "--snapshot_pref", tmp_path / "run", "--calibrate", "weak", "--features", "stream")
    assert 0 < load_network(tmp_path / "run/best.pth.tar").threshold < 1


def test_calibrated_run_resumes_exactly(run, data_root, calibrated_run, tmp_path):
    config = calibrated_run.parent / "config.json"
    arguments = ("--gpu", "cpu", "--data_root", data_root)
    run("weakly_main.py", *arguments, "--config", config, "--snapshot_pref", tmp_path, "--n_epoch", 1)
    run("weakly_main.py", *arguments, "--resume", tmp_path / "last.pth.tar", "--n_epoch", 3)
    assert load_network(tmp_path / "best.pth.tar").threshold == load_network(calibrated_run / "best.pth.tar").threshold
    times = {"seconds", "videos_per_s"}
    for ours, theirs in zip(rows_of(tmp_path), rows_of(calibrated_run), strict=True):
        assert {k: v for k, v in ours.items() if k not in times} == {k: v for k, v in theirs.items() if k not in times}


def test_calibration_of_a_finished_checkpoint_is_refused(run, tmp_path):
    result = run("weakly_main.py", "--evaluate", "--resume", "best.pth.tar", "--calibrate", "val", status=2)
    assert "--calibrate belongs to training" in result.stderr


def test_localizing_config_is_the_published_one_with_its_decision_mended():
    published = load_config(ROOT / "configs" / CONFIGS["weakly"]).as_dict()
    published["model"]["variant"] = ["mend-loss", "mend-decision"]
    published["training"] |= {"select": "names", "calibrate": "weak"}
    assert load_config(ROOT / "configs" / "weak_localizing.json").as_dict() == published
