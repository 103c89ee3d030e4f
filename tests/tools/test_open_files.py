"""Every file is closed where it was opened: none is open after a tool's work, whether it succeeds or fails.

The tools run in this process, without the garbage collector, and an error is kept with all the frames that raised it.
"""

import gc
import shutil
import sys
from importlib import import_module

import h5py
import numpy as np
import psutil
import pytest

from utils.errors import InputError


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def root(data_root, tmp_path):
    return shutil.copytree(data_root, tmp_path / "data")


@pytest.fixture
def call(monkeypatch, tmp_path, without_collector):
    """Call a command's ``main``; gives its exit status, and the files that are open while its error lives."""

    def outcome(command, *arguments):
        main = import_module(command).main
        monkeypatch.setattr(sys, "argv", [command, *map(str, arguments)])
        status, error = 0, None
        try:
            main()
        except SystemExit as stop:
            status, error = stop.code or 0, stop
        except InputError as stop:
            status, error = 2, stop
        paths = [file.path for file in psutil.Process().open_files() if file.path.startswith(str(tmp_path))]
        # A data set keeps its file open even after the file's own handle is gone.
        assert h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_FILE | h5py.h5f.OBJ_DATASET) == 0, error
        return status, paths

    return outcome


def commands(root, config, out):
    """Command lines of the tools that read a folder, those that write into ``out`` twice."""
    data = ("--data_root", root)
    pack = ("tools.pack_features", *data, "--out", out / "packed", "--dtype", "float32")
    labels = ("tools.make_labels", "--annotations", root / "Annotations.txt", "--out", root, "--overwrite")
    train = ("supv_main", "--gpu", "cpu", *data, "--config", config, "--n_epoch", 1)
    return [
        *[("tools.check_data", *data, *more) for more in ([], ["--full"])],
        *[pack, pack, labels, labels],
        *[(*train, "--features", place, "--snapshot_pref", out / place, "--overwrite") for place in ("ram", "stream")],
    ]


def test_no_file_is_open_after_each_tool(call, root, small_config, tmp_path, trained):
    data = ("--data_root", root)
    run = shutil.copytree(trained("weakly"), tmp_path / "run")
    best = run / "best.pth.tar"
    with h5py.File(root / "test_order.h5") as file:
        row = file["order"][0]
    for command in [
        *commands(root, small_config("supervised"), tmp_path / "out"),
        ("weakly_main", "--gpu", "cpu", *data, "--evaluate", "--resume", best, "--predictions", tmp_path / "mine.csv"),
        ("tools.report.__main__", run, *data, "--gpu", "cpu"),
        ("tools.visualize.__main__", run, *data, "--gpu", "cpu", "--rows", row),
        ("tools.make_data", "--out", tmp_path / "made", "--videos", 28, "--map_size", 1),
    ]:
        assert call(*command) == (0, []), command


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def rename_key(path):
    with h5py.File(path, "r+") as file:
        for key in list(file):
            file.move(key, "other")


def reshape(path):
    with h5py.File(path, "r+") as file:
        (key,) = file
        values = file[key][()]
        del file[key]
        file[key] = values[None]


def spoil(path):
    with h5py.File(path, "r+") as file:
        for data in file.values():
            data[0] = np.nan if data.dtype.kind == "f" else 10**6


@pytest.mark.parametrize("damage", [truncate, rename_key, reshape, spoil])
def test_no_file_is_open_after_an_error(call, root, small_config, tmp_path, damage):
    failed = set()
    for name in ("visual_feature.h5", "audio_feature.h5", "right_labels.h5", "test_order.h5"):
        sound = (root / name).read_bytes()
        damage(root / name)
        for command in commands(root, small_config("supervised"), tmp_path / "out"):
            spoilt = (root / name).read_bytes()
            status, paths = call(*command)
            (root / name).write_bytes(spoilt)  # make_labels has mended labels
            assert paths == [], (name, command)
            failed |= {command[0]} if status else set()
        (root / name).write_bytes(sound)
    assert {"tools.check_data", "supv_main"} <= failed


@pytest.mark.slow
def test_no_file_is_open_after_reading_videos(call, checkpoint, footage, small_extraction, tmp_path):
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in (f"{footage.good[0].video_id}.mp4", "corrupt.mp4", "mute.mp4"):
        shutil.copy(footage.folder / name, videos)
    best = shutil.copy(checkpoint, tmp_path)
    assert call("tools.extract_features", videos, "--out", tmp_path / "out", *small_extraction) == (1, [])
    assert call("tools.predict.__main__", videos, "--checkpoint", best, *small_extraction) == (1, [])
