"""Nothing is learned, scored, drawn or predicted from features or outputs that are not finite."""

import math
import shutil

import h5py
import numpy as np
import pytest
import torch

from dataset.annotations import video_ids
from dataset.doctor.features import SAMPLED
from tests.conftest import SCRIPTS
from utils.arithmetic import finite
from utils.errors import InputError


@pytest.fixture
def broken(data_root, tmp_path):
    """Copy the data with one value changed in a row that no quick check reads; gives the folder, the row and the id."""

    def change(split, name, value, dtype="float16"):
        root = shutil.copytree(data_root, tmp_path / "broken")
        with h5py.File(root / f"{split}_order.h5") as file:
            sampled = np.linspace(0, 59, SAMPLED).round()
            row = next(int(row) for row in file["order"] if row not in sampled)
        with h5py.File(root / f"{name}_feature.h5") as file:
            features = file["avadataset"][()].astype(dtype)
        features[row, 3, ..., 5] = value
        with h5py.File(root / f"{name}_feature.h5", "w") as file:
            file["avadataset"] = features
        return root, row, video_ids(root, [row])[0]

    return change


def contents(folder):
    """The files of a run, without the one that names the process of the last command."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != ".lock"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_value_counts_wherever_it_is(dtype):
    values = torch.full((3, 4, 37), torch.finfo(torch.float16).max).to(dtype)
    values[1] *= -1
    assert finite(values).tolist() == [True] * 3
    for bad in (math.nan, math.inf, -math.inf):
        for place in range(4 * 37):
            changed = values.clone()
            changed.view(3, -1)[1, place] = bad
            assert finite(changed).tolist() == [True, False, True]


def test_value_that_cannot_be_squared_is_too_large_for_a_network():
    assert finite(torch.tensor([[1e18], [1e30], [-1e30]])).tolist() == [True, False, False]
    assert finite(torch.tensor([[1e30], [1e200]], dtype=torch.float64)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("setting", "split", "name", "value", "dtype"),
    [
        ("supervised", "train", "visual", math.inf, "float16"),
        ("supervised", "test", "audio", math.nan, "float16"),
        ("weakly", "val", "audio", 1e30, "float32"),
        ("weakly", "test", "visual", 1e40, "float64"),
    ],
)
def test_held_features_stop_training_before_its_first_step(
    run, broken, trained, small_config, tmp_path, setting, split, name, value, dtype
):
    """And before the run that --overwrite replaces is touched."""
    root, row, video_id = broken(split, name, value, dtype)
    folder = shutil.copytree(trained(setting), tmp_path / "run")
    before = contents(folder)
    flags = ("--gpu", "cpu", "--data_root", root, "--config", small_config(setting), "--features", "ram")
    said = run(SCRIPTS[setting], *flags, "--snapshot_pref", folder, "--overwrite", status=2).stderr
    assert f"features of the {split} split are not finite, or too large for float32" in said
    assert f"rows [{row} ({video_id})] of {name}_feature.h5" in said
    assert "epoch 1" not in said
    assert contents(folder) == before


def test_folder_is_claimed_before_features_are_read_and_left_if_they_are_bad(run, broken, small_config, tmp_path):
    root, _, _ = broken("train", "audio", math.nan)
    flags = ("--gpu", "cpu", "--data_root", root, "--config", small_config("supervised"), "--features", "ram")
    (tmp_path / "file").write_text("a file")
    said = run("supv_main.py", *flags, "--snapshot_pref", tmp_path / "file" / "run", status=2).stderr
    assert f"{tmp_path / 'file' / 'run'}: cannot be written" in said
    said = run("supv_main.py", *flags, "--snapshot_pref", tmp_path / "run", status=2).stderr
    assert "features of the train split are not finite" in said
    assert not (tmp_path / "run").exists()


def test_streamed_features_of_val_choose_no_epoch(run, broken, trained, tmp_path):
    folder = shutil.copytree(trained("supervised"), tmp_path / "run")
    before = contents(folder)
    root, row, video_id = broken("val", "audio", math.nan)
    flags = ("--gpu", "cpu", "--data_root", root, "--features", "stream", "--n_epoch", 4)
    said = run("supv_main.py", *flags, "--resume", folder / "last.pth.tar", status=2).stderr
    assert f"features of the val split are not finite, or too large for float32: rows [{row} ({video_id})]" in said
    for name in ("best.pth.tar", "last.pth.tar", "metrics.csv"):
        assert contents(folder)[name] == before[name]


@pytest.mark.parametrize("setting", ["supervised", "weakly"])
def test_nothing_is_scored_or_drawn(run, broken, trained, tmp_path, setting):
    root, row, video_id = broken("test", "audio", math.nan)
    predictions, best = tmp_path / "predictions.csv", trained(setting) / "best.pth.tar"
    predictions.write_text("as before")
    for command, *arguments in (
        (SCRIPTS[setting], "--evaluate", "--resume", best, "--predictions", predictions),
        ("tools.report", best, "--out", tmp_path / "report"),
        ("tools.visualize", best, "--rows", row, "--out", tmp_path / "attention"),
    ):
        result = run(command, *arguments, "--data_root", root, "--gpu", "cpu", status=2)
        assert f"of the test split are not finite, or too large for float32: rows [{row} ({video_id})]" in result.stderr
        assert result.stdout == ""
    assert predictions.read_text() == "as before"
    assert [*tmp_path.glob("report/*"), *tmp_path.glob("attention/*")] == []


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("setting", ["supervised", "weakly"])
def test_only_the_bad_video_of_a_batch_is_named_under_scope_batch(make_trainer, setting, precision):
    """Although the outputs of the whole batch are not finite."""
    trainer = make_trainer(setting, precision, scope="batch")
    feed = trainer.feeds.test
    feed.held.visual[2, 7, 1, 0, 40] = math.nan
    with pytest.raises(
        InputError, match=rf"test split .* rows \[{feed.dataset.rows[2]} \([^,]*\)\] of visual_feature.h5"
    ):
        trainer.evaluate("test")


@pytest.mark.parametrize("setting", ["supervised", "weakly"])
def test_outputs_that_are_not_finite_are_no_score(make_trainer, setting):
    trainer = make_trainer(setting, "fp32")
    with torch.no_grad():
        trainer.model.localization.is_event.weight.fill_(3e38)
    rows = ", ".join(f"{row} (synthetic{row:05d})" for row in trainer.feeds.val.dataset.rows.tolist())
    with pytest.raises(InputError, match="outputs for the val split are not finite in fp32") as error:
        trainer.evaluate("val")
    assert f"rows [{rows}] of visual_feature.h5" in str(error.value)
