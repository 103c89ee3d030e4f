"""A folder is taken for AVE by its events, its number of videos or its splits, and for nobody's if it is empty."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from dataset import published
from dataset.annotations import class_names, read_annotations
from dataset.layout import ANNOTATIONS, FILES, ORDERS
from dataset.published import EVENTS, digest_of, is_ave
from dataset.sources import cure_of, require_files
from utils.errors import InputError
from utils.wording import command_line


def write(path, values):
    with h5py.File(path, "w") as file:
        file[FILES[path.name].key] = values


def annotate(root, events):
    (root / ANNOTATIONS).write_text("".join(f"{event}&{k}&good&0&10\n" for k, event in enumerate(events)))


@pytest.fixture
def own(tmp_path):
    """A folder with a data set of somebody's own: three videos of two events."""
    annotate(tmp_path, ["Church bell", "Été, rain", "Church bell"])
    write(tmp_path / "audio_feature.h5", np.zeros((3, 10, 128)))
    write(tmp_path / "train_order.h5", np.array([2, 0]))
    return tmp_path


def test_folder_of_ones_own_is_not_ave_and_an_empty_one_may_be(own):
    assert not is_ave(own)
    for path in list(own.iterdir()):
        others = [other.rename(other.with_suffix(".aside")) for other in own.iterdir() if other != path]
        assert not is_ave(own), path.name
        for other in others:
            other.rename(own / {"Annotations": ANNOTATIONS}.get(other.stem, f"{other.stem}.h5"))
    for path in list(own.iterdir()):
        path.unlink()
    assert is_ave(own)


def test_one_sign_of_ave_is_enough(own, monkeypatch):
    annotate(own, EVENTS)
    assert is_ave(own)
    annotate(own, EVENTS[:5])
    assert not is_ave(own)
    write(own / "mil_labels.h5", np.zeros((4143, 6), "u1"))
    assert is_ave(own)
    (own / "mil_labels.h5").unlink()
    digests = {name: digest_of(np.array([2, 0])) for name in ORDERS}  # the real rows are not at hand
    monkeypatch.setattr(published, "ORDER_DIGESTS", digests)
    assert is_ave(own)


@pytest.mark.parametrize("name", [*FILES, ANNOTATIONS])
def test_advice_to_the_owner_of_other_data_never_mentions_ave_and_none_deletes(own, name):
    advice = cure_of(own, name)
    assert "download" not in advice
    assert "http" not in advice
    for path in list(own.iterdir()):
        path.unlink()
    for text in (advice, cure_of(own, name)):
        assert "delete" not in text.lower()


def test_missing_files_of_ones_own_are_listed_with_the_way_to_make_them(own):
    with pytest.raises(InputError) as error:
        require_files(own, FILES)
    lines = str(error.value).splitlines()
    assert lines[0] == f"8 data files are missing in {own}:"
    assert len(lines) == 9
    order = next(line for line in lines if line.startswith("  val_order.h5"))
    assert order.endswith(
        f"{command_line('make_labels', '--annotations', own / ANNOTATIONS, '--out', own)} --val_set FILE"
    )
    assert "AVE" not in str(error.value)


@pytest.mark.skipif("MAGAN_AVE_DATA" not in os.environ, reason="MAGAN_AVE_DATA names no folder with the files of AVE")
def test_published_files_are_ave(tmp_path):
    root = Path(os.environ["MAGAN_AVE_DATA"])
    assert class_names(read_annotations(root / ANNOTATIONS)) == list(EVENTS)
    for name in (ANNOTATIONS, "mil_labels.h5", *ORDERS):
        (tmp_path / name).symlink_to(root / name)
        assert is_ave(tmp_path), name
        (tmp_path / name).unlink()
