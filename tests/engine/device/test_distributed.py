"""Several processes train as one does on the same global batches."""

import csv
import json
import os
import signal
import subprocess
import sys

import pytest
import torch

from tests.conftest import CONFIGS, SCRIPTS
from tests.processes import ENVIRONMENT, ROOT, TORCHRUN, finished_ranks
from tests.reference import seeded


@pytest.fixture
def exact_config(small_config, tmp_path):
    """float64, no dropout; 48 training videos in batches of 21, 21 and 6, which two processes cannot halve."""

    def write(setting, **training):
        config = json.loads(small_config(setting).read_text())
        config["model"] |= {name: 0.0 for name in config["model"] if name.endswith("dropout")}
        config["training"] |= {"precision": "fp64", "batch_size": 21, "n_epoch": 2, "print_freq": 1} | training
        path = tmp_path / CONFIGS[setting]
        path.write_text(json.dumps(config))
        return path

    return write


def figures(folder):
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: float(v) for k, v in row.items() if k not in ("seconds", "videos_per_s")} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_two_processes_have_the_losses_of_one(run, exact_config, data_root, tmp_path, setting):
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--config", exact_config(setting))
    run(SCRIPTS[setting], *arguments, "--snapshot_pref", tmp_path / "one")
    result = finished_ranks(2, SCRIPTS[setting], *arguments, "--snapshot_pref", tmp_path / "two")
    assert result.returncode == 0, result.stderr
    one, two = figures(tmp_path / "one"), figures(tmp_path / "two")
    assert len(one) == len(two) == 2
    for ours, theirs in zip(one, two, strict=True):
        assert theirs == pytest.approx(ours, rel=0, abs=1e-10)
    weights = [torch.load(tmp_path / name / "last.pth.tar", weights_only=True)["weights"] for name in ("one", "two")]
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=0, atol=1e-10)
    # Only one process writes: each epoch once, and one line of the summary.
    assert result.stderr.count("best on test:") == 1


@pytest.mark.slow
def test_process_without_a_video_in_the_last_batch_joins_in(run, exact_config, data_root, tmp_path):
    """48 videos in batches of 47 and 1."""
    config = exact_config("supervised", batch_size=47)
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--config", config)
    run("supv_main.py", *arguments, "--snapshot_pref", tmp_path / "one")
    result = finished_ranks(3, "supv_main.py", *arguments, "--snapshot_pref", tmp_path / "three")
    assert result.returncode == 0, result.stderr
    for ours, theirs in zip(figures(tmp_path / "one"), figures(tmp_path / "three"), strict=True):
        assert theirs == pytest.approx(ours, rel=0, abs=1e-10)


@pytest.mark.slow
def test_every_video_is_counted_once_in_evaluation(run, trained, data_root):
    arguments = ("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--split", "train", "--test_batch_size", 5)
    arguments += ("--resume", trained("supervised") / "best.pth.tar", "--precision", "fp64")
    alone = run("supv_main.py", *arguments)
    together = finished_ranks(2, "supv_main.py", *arguments)
    assert together.returncode == 0, together.stderr
    assert together.stdout == alone.stdout


@pytest.mark.slow
def test_scope_batch_is_refused_with_the_reason(data_root):
    result = finished_ranks(2, "supv_main.py", "--gpu", "cpu", "--data_root", data_root, "--scope", "batch")
    assert result.returncode == 2
    assert "the network attends over the whole batch, which 2 processes would split" in result.stderr


@pytest.mark.slow
def test_stopped_processes_save_one_state_and_resume_exactly(exact_config, data_root, tmp_path):
    arguments = ("--gpu", "cpu", "--data_root", data_root, "--config", exact_config("supervised", n_epoch=3))
    whole = finished_ranks(2, "supv_main.py", *arguments, "--snapshot_pref", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr

    command = [sys.executable, *TORCHRUN, "supv_main.py", *arguments, "--snapshot_pref", tmp_path / "stopped"]
    options = {"cwd": ROOT, "env": ENVIRONMENT, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(list(map(str, command)), **options) as process:
        said = ""
        for line in process.stderr:
            said += line
            if "epoch 2/3 [1/3]" in line:
                os.kill(process.pid, signal.SIGTERM)
                break
        said += process.stderr.read()
    assert "stopped and saved" in said

    last = tmp_path / "stopped" / "last.pth.tar"
    again = finished_ranks(2, "supv_main.py", "--gpu", "cpu", "--data_root", data_root, "--resume", last)
    assert again.returncode == 0, again.stderr
    for ours, theirs in zip(figures(tmp_path / "whole"), figures(tmp_path / "stopped"), strict=True):
        assert theirs == pytest.approx(ours, rel=0, abs=1e-12)
