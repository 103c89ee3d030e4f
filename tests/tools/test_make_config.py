"""A config gets the sizes of a data set, and all other values from the setting's default."""

import json
from shlex import quote

import h5py
import numpy as np
import pytest

from configs import CONFIGS, load_config
from configs.config import Config
from dataset.layout import FILES
from dataset.size import AVE, Size
from model import MODELS
from tools.make_config import fitted


def write(root, **arrays):
    for name, values in arrays.items():
        with h5py.File(root / f"{name}.h5", "w") as file:
            file[FILES[f"{name}.h5"].key] = values


@pytest.fixture
def root(tmp_path):
    """A folder with features alone: 9 videos of 6 segments, 4 x 3 maps."""
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder, visual_feature=np.zeros((9, 6, 4, 3, 64)), audio_feature=np.zeros((9, 6, 32)))
    return folder


@pytest.mark.parametrize("setting", ["supervised", "weakly"])
@pytest.mark.parametrize("source", ["annotations", "labels per segment", "labels per video"])
def test_config_has_the_sizes_of_the_data_and_other_values_of_the_setting(run, root, tmp_path, setting, source):
    if source == "annotations":
        (root / "Annotations.txt").write_text("".join(f"event {k % 5}&{k}&good&0&6\n" for k in range(9)))
    elif source == "labels per segment":
        write(root, right_labels=np.zeros((9, 6, 6)))
    else:
        write(root, mil_labels=np.zeros((9, 6)))
    out = tmp_path / "new" / "mine.json"
    result = run("tools.make_config", "--data_root", root, "--out", out, "--setting", setting)
    assert f"{out}: 5 events, features of widths 64 and 32, 4 attention heads, videos of 6 segments" in result.stderr
    assert result.stdout == ""
    default, config = load_config(CONFIGS[setting]), load_config(out)
    assert config == default.with_values({"num_events": 5, "visual_dim": 64, "audio_dim": 32}, "test")


def test_data_like_ave_need_no_other_config():
    assert fitted(Config(), AVE, "test") == Config()


@pytest.mark.parametrize(
    ("size", "heads", "top_segments"),
    [
        (Size(9, 3, 0, 5, 512, 128), 4, 3),
        (Size(9, 4, 0, 5, 510, 128), 2, 4),
        (Size(9, 10, 0, 5, 511, 128), 1, 4),
        (Size(9, 1, 0, 1, 4, 4), 4, 1),
    ],
)
def test_heads_divide_the_widths_and_short_videos_have_fewer_best_segments(size, heads, top_segments):
    model = fitted(Config(), size, "test").model
    assert (model.num_heads, model.top_segments) == (heads, top_segments)
    for kind in MODELS.values():
        kind(model)


def test_existing_file_is_replaced_only_on_request(run, root, tmp_path):
    write(root, mil_labels=np.zeros((9, 6)))
    out = tmp_path / "mine.json"
    out.write_text("precious")
    said = run("tools.make_config", "--data_root", root, "--out", out, status=2).stderr
    assert said == f"error: {out}: exists: name another file, or give --overwrite\n"
    assert out.read_text() == "precious"
    run("tools.make_config", "--data_root", root, "--out", out, "--overwrite")
    assert json.loads(out.read_text())["model"]["num_events"] == 5


def test_missing_features_and_places_that_cannot_be_written_are_one_sentence(run, root, tmp_path):
    write(root, mil_labels=np.zeros((9, 6)))
    said = run("tools.make_config", "--data_root", root, "--out", "/dev/null/mine.json", status=2).stderr
    assert said.startswith("error: /dev/null/mine.json: cannot be written: ")
    (root / "audio_feature.h5").unlink()
    said = run("tools.make_config", "--data_root", root, "--out", tmp_path / "mine.json", status=2).stderr
    assert f"1 data file is missing in {root}" in said
    assert not (tmp_path / "mine.json").exists()


def test_nothing_is_guessed_of_data_that_do_not_tell(run, root, tmp_path):
    """Not the events without labels, nor the width of maps with another number of axes, or with channels first."""
    out = ("--out", tmp_path / "mine.json")
    said = run("tools.make_config", "--data_root", root, *out, status=2).stderr
    assert (
        said == f"error: {root}: no file tells the number of events: write Annotations.txt, or make the labels first\n"
    )
    write(root, mil_labels=np.zeros((9, 6)), visual_feature=np.zeros((9, 6, 12, 64)))
    said = run("tools.make_config", "--data_root", root, *out, status=2).stderr
    assert said == f"error: {root / 'visual_feature.h5'}: shape (9, 6, 12, 64), expected 5 axes\n"
    write(root, visual_feature=np.zeros((9, 6, 64, 4, 3)))
    said = run("tools.make_config", "--data_root", root, *out, status=2).stderr
    assert f"{root / 'visual_feature.h5'}: shape (9, 6, 64, 4, 3), its third axis is the channels" in said
    assert f"pack_features --data_root {quote(str(root))} --out {quote(f'{root}-channels-last')} --" in said
    said = run("tools.make_config", "--data_root", root / "mil_labels.h5", *out, status=2).stderr
    assert said.startswith(f"error: {root / 'mil_labels.h5'}: not a directory")
    assert not (tmp_path / "mine.json").exists()
