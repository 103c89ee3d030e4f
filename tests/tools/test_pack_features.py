"""A packed folder holds what the source holds, rounded, however often the packing was broken off."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from dataset.packing import FEATURE_FILES, RECORD
from tests.conftest import ENVIRONMENT, ROOT

COMMAND = [sys.executable, "-m", "tools.pack_features"]
VISUAL = "visual_feature.h5"


def values(path):
    with h5py.File(path) as file:
        return file["avadataset"][()]


def write(path, features):
    with h5py.File(path, "w") as file:
        file["avadataset"] = features


@pytest.fixture(scope="module")
def source(data_root, tmp_path_factory):
    """The shared folder with features in float64, as published. Read it, do not change it."""
    folder = tmp_path_factory.mktemp("source") / "wide"
    shutil.copytree(data_root, folder)
    for name in FEATURE_FILES:
        narrow = values(folder / name).astype(np.float64)
        write(folder / name, narrow * (1 + 1e-9 * np.random.default_rng(0).standard_normal(narrow.shape)))
    return folder


@pytest.fixture
def copy(source, tmp_path):
    """A source of one's own to change."""
    return shutil.copytree(source, tmp_path / "source")


def assert_packed(source, out, dtype):
    assert {path.name for path in out.iterdir()} == {path.name for path in source.iterdir()}
    for path in source.iterdir():
        if path.name in FEATURE_FILES:
            packed, expected = values(out / path.name), values(path).astype(dtype)
            assert packed.dtype == dtype
            np.testing.assert_array_equal(packed, expected)
        else:
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name


def pack(run, source, out, *more, status=0):
    return run("tools.pack_features", "--data_root", source, "--out", out, *more, status=status).stderr


# What is written


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_packed_folder_is_the_source_in_the_type_asked_for(run, source, tmp_path, dtype):
    said = pack(run, source, tmp_path / "out", "--dtype", dtype)
    assert_packed(source, tmp_path / "out", dtype)
    for name in FEATURE_FILES:
        wide = values(source / name)
        errors = np.abs(wide.astype(dtype) - wide)
        row = np.unravel_index(errors.argmax(), errors.shape)[0]
        assert f"{name}: float64 to {dtype}, " in said
        assert f"largest rounding error {errors.max():.3g}, in row {row}\n" in said


def test_folder_without_noisy_videos_and_labels_is_packed_identity(run, copy, tmp_path):
    for path in list(copy.iterdir()):
        if path.name not in (VISUAL, "audio_feature.h5", "train_order.h5"):
            path.unlink()
    pack(run, copy, tmp_path / "out")
    assert_packed(copy, tmp_path / "out", "float16")


def test_compressed_big_endian_source_is_packed_too(run, copy, tmp_path):
    wide = values(copy / VISUAL)
    with h5py.File(copy / VISUAL, "w") as file:
        file.create_dataset("avadataset", data=wide.astype(">f8"), chunks=(7, *wide.shape[1:]), compression="gzip")
    pack(run, copy, tmp_path / "out", "--dtype", "float32")
    assert_packed(copy, tmp_path / "out", "float32")


@pytest.mark.slow
def test_entry_script_trains_alike_on_source_and_on_float32_copy(run, data_root, small_config, trained, tmp_path):
    """The shared data is float16, so that float32 holds it exactly, and the shared run read it as float16."""
    pack(run, data_root, tmp_path / "out", "--dtype", "float32")
    run(
        "supv_main.py",
        *("--gpu", "cpu", "--data_root", tmp_path / "out", "--config", small_config("supervised")),
        *("--snapshot_pref", tmp_path / "run"),
    )
    lines = [(folder / "metrics.csv").read_text().splitlines() for folder in (tmp_path / "run", trained("supervised"))]
    one, other = ([line.split(",")[:-2] for line in run_lines] for run_lines in lines)  # times aside
    assert one == other


# What is refused


def test_value_too_large_is_refused_with_its_row_and_leaves_nothing(run, copy, tmp_path):
    features = values(copy / VISUAL)
    features[37, 4, 1, 0, 99] = -65520.0
    write(copy / VISUAL, features)
    said = pack(run, copy, tmp_path / "out", status=2)
    assert f"error: {copy / VISUAL}: row 37 has the value 65520, and the largest float16 is 65504" in said
    assert list((tmp_path / "out").iterdir()) == []


def test_largest_value_that_fits_and_infinity_are_packed(run, copy, tmp_path):
    features = values(copy / VISUAL)
    features[3, 0, 0, 0, :3] = [65519.0, np.inf, np.nan]
    write(copy / VISUAL, features)
    pack(run, copy, tmp_path / "out")
    assert_packed(copy, tmp_path / "out", "float16")


@pytest.mark.parametrize("name", [VISUAL, f"{VISUAL}.partial", "mil_labels.h5", "Annotations.txt"])
def test_folder_that_holds_something_else_is_not_touched(run, source, tmp_path, name):
    (tmp_path / name).write_text("mine")
    said = pack(run, source, tmp_path, status=2)
    assert said.startswith(f"error: {tmp_path}: already holds {name}, ")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_finished_folder_and_source_itself_are_refused(run, copy, tmp_path):
    pack(run, copy, tmp_path / "out")
    assert "already holds audio_feature.h5" in pack(run, copy, tmp_path / "out", status=2)
    assert "is the folder to pack" in pack(run, copy, copy, status=2)
    assert_packed(copy, tmp_path / "out", "float16")


def test_missing_or_damaged_source_is_refused_by_name(run, copy, tmp_path):
    contents = (copy / VISUAL).read_bytes()
    (copy / VISUAL).write_bytes(contents[: len(contents) // 2])
    assert pack(run, copy, tmp_path / "out", status=2).startswith(f"error: {copy / VISUAL}: ")
    (copy / VISUAL).unlink()
    assert "1 data file is missing" in pack(run, copy, tmp_path / "out", status=2)
    assert not (tmp_path / "out").exists()


def test_disk_without_room_is_refused_up_front_with_what_is_needed(source, tmp_path, monkeypatch):
    from dataset.packing import Packing
    from utils.errors import InputError

    class Usage:
        free = 10**6

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(InputError, match=r"needs 0\.00 GB, and its disk has 0\.00 GB free"):
        Packing(source, tmp_path / "out", "float16")
    assert not (tmp_path / "out").exists()


# Broken off and gone on with


@pytest.fixture(scope="module")
def large_source(tmp_path_factory):
    """A source of only features, which takes seconds to pack."""
    folder = tmp_path_factory.mktemp("large")
    block = np.random.default_rng(0).random((20, 10, 7, 7, 512))
    with h5py.File(folder / VISUAL, "w") as file:
        data = file.create_dataset("avadataset", (200, *block.shape[1:]), np.float64)
        for start in range(0, 200, 20):
            data[start : start + 20] = block + start
    write(folder / "audio_feature.h5", np.random.default_rng(1).random((200, 10, 128)))
    return folder


def progress_of(out):
    try:
        return json.loads((out / RECORD).read_text())["rows"].get(VISUAL, 0)
    except FileNotFoundError:
        return 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_packing_that_is_broken_off_goes_on_where_it_was(run, large_source, tmp_path, number, status):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it, as do their children
    command = [*COMMAND, "--data_root", str(large_source), "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        while not progress_of(tmp_path):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.001)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == status
    assert "Traceback" not in said
    rows = progress_of(tmp_path)
    assert 0 < rows < 200
    assert not (tmp_path / VISUAL).exists()

    # What a crash or somebody else may have done to the rows since: those in doubt, and some that were thought safe.
    with h5py.File(tmp_path / f"{VISUAL}.partial", "r+") as file:
        file["avadataset"][1] = 7
        file["avadataset"][rows:] = 0.5
    written = (tmp_path / "audio_feature.h5").stat().st_mtime_ns
    said = pack(run, large_source, tmp_path)
    assert "going on where it was" in said
    assert_packed(large_source, tmp_path, "float16")
    assert (tmp_path / "audio_feature.h5").stat().st_mtime_ns == written


def limited(source, out, size):
    """Pack while no file may grow beyond ``size`` bytes, as on a full disk."""
    return subprocess.run(
        [*COMMAND, "--data_root", str(source), "--out", str(out)],
        cwd=ROOT,
        env=ENVIRONMENT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("size", [100, 2**18])
def test_full_disk_is_one_sentence_and_the_same_command_goes_on_when_there_is_room(run, source, tmp_path, size):
    result = limited(source, tmp_path, size)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path}: cannot be written: ")
    assert "Traceback" not in result.stderr
    pack(run, source, tmp_path)
    assert_packed(source, tmp_path, "float16")


def test_other_work_than_that_begun_is_refused(run, copy, tmp_path):
    out = tmp_path / "out"
    limited(copy, out, 2**18)
    begun = {path.name: path.read_bytes() for path in out.iterdir()}
    assert "holds unfinished work on" in pack(run, copy, out, "--dtype", "float32", status=2)
    os.utime(copy / VISUAL)
    assert "the features have changed since" in pack(run, copy, out, status=2)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == begun
