"""Commands that are given a run find its data, wherever the run's folder has been moved."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from configs.options import DATA_ROOT
from engine.experiment import evaluation_of


@pytest.fixture
def moved(trained, tmp_path):
    """A finished run whose folder was moved."""
    return shutil.copytree(trained("supervised"), tmp_path / "elsewhere" / "run")


def data_of(checkpoint, data_root=None):
    return evaluation_of(checkpoint, data_root, "cpu", "test").folder.root


def test_data_of_a_run_are_its_own_unless_others_are_named(moved, data_root, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        assert data_of(moved / "best.pth.tar") == data_of(moved / "last.pth.tar") == data_root
        assert caplog.messages.count(f"data of the run, by {moved / 'config.json'}: {data_root}") == 2
        caplog.clear()
        assert data_of(moved / "best.pth.tar", tmp_path) == tmp_path
    assert "data of the run" not in caplog.text


def test_data_that_are_gone_give_way_to_the_default(moved, tmp_path, caplog):
    config = json.loads((moved / "config.json").read_text())
    config["arguments"]["data_root"] = str(tmp_path / "gone")
    (moved / "config.json").write_text(json.dumps(config))
    with caplog.at_level(logging.INFO):
        assert data_of(moved / "best.pth.tar") == DATA_ROOT
    assert f"by {moved / 'config.json'}: {tmp_path / 'gone'}, which is no longer there" in caplog.text


@pytest.mark.parametrize("contents", [None, "no JSON", "[]", '{"setting": "supervised", "versions": {}}'])
def test_checkpoint_without_a_run_has_the_default(moved, contents):
    (moved / "config.json").unlink()
    if contents:
        (moved / "config.json").write_text(contents)
    assert data_of(moved / "best.pth.tar") == DATA_ROOT


@pytest.mark.parametrize("arguments", [3, {}, {"data_root": None}, {"data_root": 3}, {"data_root": "\0"}])
def test_config_that_was_changed_has_the_default(moved, arguments):
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps(config | {"arguments": arguments}))
    assert data_of(moved / "best.pth.tar") == DATA_ROOT


def test_moved_run_is_resumed_and_evaluated_with_its_data(run, moved, data_root):
    """``data_root`` is recorded as an absolute path."""
    said = run("supv_main.py", "--gpu", "cpu", "--snapshot_pref", moved, "--resume", "auto", "--n_epoch", 4).stderr
    assert "resuming at epoch 4, batch 0" in said
    assert [line.split(",")[0] for line in (moved / "metrics.csv").read_text().splitlines()[1:]] == ["1", "2", "3", "4"]
    recorded = Path(json.loads((moved / "config.json").read_text())["arguments"]["data_root"])
    assert recorded.is_absolute()
    assert recorded == data_root
    run("supv_main.py", "--gpu", "cpu", "--evaluate", "--resume", moved / "best.pth.tar")


def test_new_run_from_the_weights_of_another_has_the_default(run, moved, small_config):
    flags = ("--gpu", "cpu", "--config", small_config("supervised"), "--resume", moved / "best.pth.tar")
    assert f"data files are missing in {DATA_ROOT}:" in run("supv_main.py", *flags, status=2).stderr


def test_file_in_place_of_the_data_is_named(run, moved, tmp_path):
    file = tmp_path / "data"
    file.write_text("")
    for command, *arguments in (
        ("supv_main.py", "--gpu", "cpu", "--snapshot_pref", tmp_path / "new"),
        ("supv_main.py", "--gpu", "cpu", "--evaluate", "--resume", moved / "best.pth.tar"),
        ("tools.report", moved, "--gpu", "cpu"),
        ("tools.visualize", moved, "--gpu", "cpu", "--rows", 1),
        ("tools.check_data",),
        ("tools.pack_features", "--out", tmp_path / "packed"),
        ("tools.download",),
        ("tools.compare", "--setting", "weakly", "--compare", "lr=1e-4,1e-3", "--out", tmp_path / "compare"),
    ):
        said = run(command, *arguments, "--data_root", file, status=2).stderr
        assert f"error: {file}: " in said, command
        assert "directory" in said, command
    assert file.read_text() == ""
    assert not (tmp_path / "new").exists()
