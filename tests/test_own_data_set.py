"""A data set of one's own, from features and annotations to a report, by the commands of docs/DATA.md alone.

20 clips of 6 seconds, maps of 4 x 3, 5 events named in several scripts or like formulas, no noisy videos.
"""

import csv
import json
import shutil

import h5py
import numpy as np
import pytest

from tests.conftest import SMALL

EVENTS = ["Été, rain", "钟", "=SUM(A1:A9)", "-Train @ +1", "Church bell"]
SPLITS = {"train": range(10), "val": range(10, 15), "test": range(15, 20)}
TRAIN = ("--gpu", "cpu", "--n_epoch", 1, "--b", 5)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """What the owner has: features, annotations, and a list of each split."""
    root = tmp_path_factory.mktemp("own") / "data"
    root.mkdir()
    random = np.random.default_rng(0)
    lines = []
    for row in range(20):
        start = int(random.integers(0, 5))
        lines.append(f"{EVENTS[row % 5]}&-clip_{row}&good&{start}&{random.integers(start + 1, 7)}\n")
    lines[4] = lines[4].rsplit("&", 2)[0] + "&0&6\n"
    (root / "Annotations.txt").write_text("".join(lines), encoding="utf-8")
    for split, rows in SPLITS.items():
        (root / f"{split}.txt").write_text("".join(lines[row] for row in rows), encoding="utf-8")
    for name, shape in {"visual_feature": (20, 6, 4, 3, 512), "audio_feature": (20, 6, 128)}.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            file["avadataset"] = np.maximum(random.standard_normal(shape), 0).astype("f4")
    return root


@pytest.fixture(scope="module")
def prepared(run, root):
    """The folder with labels and splits, and the config of a small network of either setting."""
    sets = [part for split in SPLITS for part in (f"--{split}_set", root / f"{split}.txt")]
    run("tools.make_labels", "--annotations", root / "Annotations.txt", "--out", root, *sets)
    configs = {}
    for setting in ("supervised", "weakly"):
        configs[setting] = root.parent / f"{setting}.json"
        configs[setting].write_text(json.dumps({"model": SMALL}), encoding="utf-8")
    return root, configs


def test_labels_have_the_six_segments_of_the_features(prepared):
    root, _ = prepared
    with h5py.File(root / "right_labels.h5") as file:
        assert file["avadataset"].shape == (20, 6, 6)
    assert not (root / "labels_noisy.h5").exists()


def test_check_finds_the_data_set_sound(run, prepared):
    root, _ = prepared
    report = run("tools.check_data", "--data_root", root, "--full").stdout
    assert "download" not in report
    assert "supervised: can run\nweakly: can run\n" in report
    assert "error" not in report
    assert "ok, one-hot, as annotated" in report


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "script"), [("supervised", "supv_main.py"), ("weakly", "weakly_main.py")])
def test_either_setting_trains_and_its_run_is_reported_and_drawn(run, prepared, tmp_path, setting, script):
    pytest.importorskip("matplotlib")
    root, configs = prepared
    folder = tmp_path / "run"
    data = ("--data_root", root)
    said = run(script, *TRAIN, *data, "--config", configs[setting], "--snapshot_pref", folder).stderr
    assert "10 training videos, 5 val, 5 test" in said
    assert ("has no noisy videos" in said) == (setting == "weakly")
    score = ("--evaluate", "--resume", folder / "best.pth.tar", "--predictions", tmp_path / "predictions.csv")
    assert "Evaluation results (acc): " in run(script, "--gpu", "cpu", *data, *score).stdout
    with open(tmp_path / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 6

    said = run("tools.report", folder, *data, "--gpu", "cpu").stderr
    page = next(folder.rglob("report.html")).read_text(encoding="utf-8")
    assert all(event in page for event in EVENTS)
    assert "Warning" not in said
    said = run("tools.visualize", folder, *data, "--gpu", "cpu", "--rows", 16, "--out", tmp_path / "drawn").stderr
    assert list((tmp_path / "drawn").rglob("*.png"))
    assert "Warning" not in said


def test_part_of_the_noisy_files_is_an_error_that_names_the_others(run, prepared, tmp_path):
    root, configs = prepared
    own = shutil.copytree(root, tmp_path / "data")
    with h5py.File(own / "audio_feature_noisy.h5", "w") as file:
        file["avadataset"] = np.zeros((4, 6, 128))
    train = (*TRAIN, "--data_root", own, "--config", configs["weakly"], "--snapshot_pref", tmp_path / "run")
    said = run("weakly_main.py", *train, status=2).stderr
    assert (
        f"2 data files are missing in {own}:\n  visual_feature_noisy.h5  write it with videos without an event" in said
    )
    assert "  labels_noisy.h5          make it for the noisy features: python -m tools.make_labels" in said
    assert not (tmp_path / "run").exists()
