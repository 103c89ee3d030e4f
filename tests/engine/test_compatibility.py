"""Checkpoints, configs and command lines of release 1.0 still work.

``tests/release_1_0`` holds a run of each setting, stopped by SIGINT in epoch 3 of 4, with its evaluation and
the metrics of the same run without the stop, all written by release 1.0.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model import load_network
from tests.conftest import SCRIPTS
from tests.release_1_0.data import NUM_SEGMENTS, write_data

RELEASE = Path(__file__).parent.parent / "release_1_0"
SETTINGS = ("supervised", "weakly")
UNTIMED = {"seconds", "videos_per_s"}


@pytest.fixture(scope="module")
def old_data(tmp_path_factory) -> Path:
    """The data that the old runs were trained on."""
    root = tmp_path_factory.mktemp("old") / "data"
    write_data(root)
    return root


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("setting", SETTINGS)
def test_old_checkpoint_predicts_what_it_predicted(run, old_data, tmp_path, setting):
    predictions = tmp_path / "predictions.csv"
    flags = ("--gpu", "cpu", "--data_root", old_data, "--evaluate", "--predictions", predictions)
    result = run(SCRIPTS[setting], *flags, "--resume", RELEASE / setting / "best.pth.tar")
    assert result.stdout == (RELEASE / setting / "evaluation.txt").read_text()
    for now, before in zip(rows_of(predictions), rows_of(RELEASE / setting / "predictions.csv"), strict=True):
        for name in before:
            if name.endswith("probability"):
                assert float(now[name]) == pytest.approx(float(before[name]), abs=2e-6)
            else:
                assert now[name] == before[name]


@pytest.mark.parametrize("setting", SETTINGS)
def test_old_run_is_not_resumed_and_its_weights_start_a_new_one(run, old_data, tmp_path, setting):
    folder = tmp_path / "run"
    shutil.copytree(RELEASE / setting, folder)
    flags = ("--gpu", "cpu", "--data_root", old_data)
    said = run(SCRIPTS[setting], *flags, "--resume", folder / "last.pth.tar", status=2).stderr
    assert "is a run of a release 1.x, which this one does not resume" in said
    new = ("--config", folder / "model.json", "--n_epoch", 1, "--snapshot_pref", tmp_path / "new")
    model = json.loads((folder / "config.json").read_text())["model"]
    (folder / "model.json").write_text(json.dumps({"model": model}))
    assert (
        "a new run from these weights"
        in run(SCRIPTS[setting], *flags, "--resume", folder / "best.pth.tar", *new).stderr
    )


@pytest.mark.parametrize("setting", SETTINGS)
def test_old_checkpoint_predicts_from_python(setting):
    model = load_network(RELEASE / setting / "best.pth.tar", segments=NUM_SEGMENTS)
    random = np.random.Generator(np.random.PCG64(0))
    prediction = model.predict(random.random((NUM_SEGMENTS, 2, 2, 16)), random.random((NUM_SEGMENTS, 8)))
    assert prediction.event_probability.shape == (NUM_SEGMENTS,)
