"""Checkpoints, run folders, configs and command lines of release 1.0 still work.

``tests/release_1_0`` holds a run of each setting, stopped by SIGINT in epoch 3 of 4, with its evaluation and
the metrics of the same run without the stop, all written by release 1.0.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from configs import TrainingConfig, load_config
from model import MAGANConfig, load_magan
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
def test_old_run_resumes_to_the_metrics_of_the_run_that_was_never_stopped(run, old_data, tmp_path, setting):
    folder = tmp_path / "run"
    shutil.copytree(RELEASE / setting, folder)
    run(SCRIPTS[setting], "--gpu", "cpu", "--data_root", old_data, "--resume", folder / "last.pth.tar")
    found, expected = rows_of(folder / "metrics.csv"), rows_of(folder / "metrics_of_whole_run.csv")
    assert len(found) == len(expected) == 4
    for now, before in zip(found, expected, strict=True):
        for name in before.keys() - UNTIMED:
            assert float(now[name]) == pytest.approx(float(before[name]), rel=1e-4), name
    # The measures, which release 1.0 did not record, are empty in its epochs and the last columns.
    new = [name for name in found[0] if name not in expected[0]]
    assert list(found[0]) == [*expected[0], *new]
    assert all(row[name] == "" for row in found[:2] for name in new)
    assert all(0 <= float(row["test_auc"]) <= 1 for row in found[2:])


@pytest.mark.parametrize("setting", SETTINGS)
def test_old_checkpoint_predicts_from_python(setting):
    model = load_magan(RELEASE / setting / "best.pth.tar", segments=NUM_SEGMENTS)
    random = np.random.Generator(np.random.PCG64(0))
    prediction = model.predict(random.random((NUM_SEGMENTS, 2, 2, 16)), random.random((NUM_SEGMENTS, 8)))
    assert prediction.event_probability.shape == (NUM_SEGMENTS,)


@pytest.mark.parametrize("setting", SETTINGS)
def test_config_without_a_key_that_came_later_takes_its_default(tmp_path, setting):
    old = json.loads((RELEASE / setting / "config.json").read_text())
    path = tmp_path / "config.json"
    path.write_text(json.dumps({section: old[section] for section in ("model", "training")}))
    config = load_config(path)
    for section, kind in (("model", MAGANConfig), ("training", TrainingConfig)):
        for name in kind.__dataclass_fields__:
            expected = old[section].get(name, getattr(kind(), name))
            value = getattr(getattr(config, section), name)
            assert value == (tuple(expected) if isinstance(value, tuple) else expected)
