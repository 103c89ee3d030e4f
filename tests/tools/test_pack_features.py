"""A packed folder holds what the source holds, rounded; its files are complete and verified, or not there."""

import csv
import resource
import shlex
import shutil
import signal
import sys
from functools import partial

import h5py
import numpy as np
import pytest

from tests.processes import Process, finished
from tools import pack_features
from tools.pack_features import FEATURE_FILES
from utils.errors import InputError

COMMAND = [sys.executable, "-m", "tools.pack_features"]
VISUAL = "visual_feature.h5"
KEPT = "Its previous contents are unharmed"


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


def channels_first(folder, names=(VISUAL, "visual_feature_noisy.h5")):
    """Store maps as PyTorch's networks give them; gives the values as they were."""
    before = {name: values(folder / name) for name in names}
    for name, maps in before.items():
        write(folder / name, np.moveaxis(maps, -1, 2))
    return before


@pytest.mark.parametrize("chunk", [2**25, 2**17])
def test_maps_with_channels_first_are_turned_round_clean_and_noisy(data_root, tmp_path, monkeypatch, chunk):
    """A chunk of 2**17 bytes is three rows."""
    monkeypatch.setattr(pack_features, "_CHUNK_BYTES", chunk)
    copy = shutil.copytree(data_root, tmp_path / "source")
    channels_first(copy)
    for _ in range(2):  # the second call compares the finished files
        pack_features.pack(copy, tmp_path / "out", np.dtype("f2"), channels_first=True)
        assert_packed(data_root, tmp_path / "out", "float16")


def test_file_whose_channels_are_last_already_is_not_turned(data_root, tmp_path):
    copy = shutil.copytree(data_root, tmp_path / "source")
    with pytest.raises(InputError, match="the channels are the last axis already: leave out --channels_first"):
        pack_features.pack(copy, tmp_path / "out", np.dtype("f2"), channels_first=True)
    channels_first(copy, [VISUAL])
    pack_features.pack(copy, tmp_path / "out", np.dtype("f2"), channels_first=True)
    assert_packed(data_root, tmp_path / "out", "float16")


def test_maps_with_channels_first_are_not_packed_as_they_are(run, wide_data_root, tmp_path):
    """The command in the message makes the folder that was meant."""
    copy = shutil.copytree(wide_data_root, tmp_path / "source")
    channels_first(copy)
    said = pack(run, copy, tmp_path / "out", status=2)
    assert f"{copy / VISUAL}: shape (60, 10, 512, 2, 2), its third axis is the channels" in said
    run(*shlex.split(said.strip().split("python -m ")[1]))
    assert_packed(wide_data_root, tmp_path / "source-channels-last", "float16")


def test_subnormal_values_are_packed_as_the_nearest_ones(copy, tmp_path):
    tiny = values(copy / VISUAL)
    tiny[5] = np.float64(5e-324)
    tiny[6] = 3e-8  # halfway between float16's smallest value and zero is 2.98e-8
    write(copy / VISUAL, tiny)
    for dtype in ("float16", "float32"):
        pack_features.pack(copy, tmp_path / dtype, np.dtype(dtype))
        assert_packed(copy, tmp_path / dtype, dtype)
    assert (values(tmp_path / "float16" / VISUAL)[6] == 2**-24).all()


@pytest.mark.slow
def test_entry_script_trains_alike_on_source_and_on_float32_copy(run, data_root, small_config, trained, tmp_path):
    """The shared data is float16, so that float32 holds it exactly, and the shared run read it as float16."""
    pack(run, data_root, tmp_path / "out", "--dtype", "float32")
    run(
        "supv_main.py",
        *("--gpu", "cpu", "--data_root", tmp_path / "out", "--config", small_config("supervised")),
        *("--snapshot_pref", tmp_path / "run"),
    )
    runs = []
    for folder in (tmp_path / "run", trained("supervised")):
        with open(folder / "metrics.csv", newline="") as file:
            runs.append([{**row, "seconds": "", "videos_per_s": ""} for row in csv.DictReader(file)])
    assert runs[0] == runs[1]


# What is refused


def test_file_in_place_of_the_folder_is_called_so(run, source, tmp_path):
    file = source / "Annotations.txt"
    said = pack(run, file, tmp_path / "out", status=2)
    assert said == f"error: {file}: not a directory, expected one with the files of the AVE layout\n"
    said = pack(run, source, file, status=2)
    assert (
        said == f"error: {file}: cannot be written: a file is there, expected a directory: name another one. {KEPT}\n"
    )


def test_value_too_large_is_refused_with_its_row_and_leaves_nothing(run, copy, tmp_path):
    features = values(copy / VISUAL)
    features[37, 4, 1, 0, 60] = -65520.0
    write(copy / VISUAL, features)
    said = pack(run, copy, tmp_path / "out", status=2)
    assert f"error: {copy / VISUAL}: row 37 has the value -65520, and the largest float16 is 65504" in said
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith(VISUAL)]


def test_largest_value_that_fits_and_infinity_are_packed(run, copy, tmp_path):
    features = values(copy / VISUAL)
    features[3, 0, 0, 0, :3] = [65519.0, np.inf, np.nan]
    write(copy / VISUAL, features)
    pack(run, copy, tmp_path / "out")
    assert_packed(copy, tmp_path / "out", "float16")


@pytest.mark.parametrize("name", [VISUAL, "mil_labels.h5", "Annotations.txt"])
def test_folder_that_holds_something_else_is_not_touched(run, source, tmp_path, name):
    (tmp_path / name).write_text("mine")
    assert pack(run, source, tmp_path, status=2).startswith(f"error: {tmp_path / name}: ")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("change", ["value", "type"])
def test_packed_file_with_other_values_is_named_and_left_as_it_is(run, copy, tmp_path, change):
    pack(run, copy, tmp_path / "out")
    path = tmp_path / "out" / "audio_feature.h5"
    features = values(path)
    features[59, 9, 31] += 1
    write(path, features if change == "value" else features.astype("f4"))
    before = path.read_bytes()
    assert f"{path}: does not hold the rounded values of its source" in pack(run, copy, tmp_path / "out", status=2)
    assert path.read_bytes() == before


def test_source_itself_is_refused_and_stays_as_it_is(run, copy):
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert "is the folder to pack" in pack(run, copy, copy, status=2)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_missing_or_damaged_source_is_refused_by_name(run, copy, tmp_path):
    contents = (copy / VISUAL).read_bytes()
    (copy / VISUAL).write_bytes(contents[: len(contents) // 2])
    assert pack(run, copy, tmp_path / "out", status=2).startswith(f"error: {copy / VISUAL}: ")
    (copy / VISUAL).unlink()
    assert "1 data file is missing" in pack(run, copy, tmp_path / "out", status=2)
    assert not (tmp_path / "out").exists()


def test_rows_that_read_back_as_something_else_get_no_file(source, tmp_path, monkeypatch):
    """A disk that fails, imitated: no real one is at hand."""
    honest = pack_features.read

    def failing_disk(data, rows):
        read = honest(data, rows)
        return read + 1 if data.file.filename.endswith(".partial") else read

    monkeypatch.setattr(pack_features, "read", failing_disk)
    with pytest.raises(InputError, match="does not hold the rounded values"):
        pack_features.pack(source, tmp_path, np.dtype("f2"))
    assert not {path.name for path in tmp_path.iterdir()} & set(FEATURE_FILES)


def test_disk_without_room_is_refused_up_front_with_the_space_needed(source, tmp_path, monkeypatch):
    class Usage:
        free = 10**5

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(InputError, match=r"needs 0\.00 GB, and its disk has 0\.00 GB free"):
        pack_features.pack(source, tmp_path / "out", np.dtype("f2"))
    assert not (tmp_path / "out").exists()


# Interrupted, and called again


@pytest.fixture(scope="module")
def large_source(tmp_path_factory):
    """A source of features alone, which takes a second to pack."""
    folder = tmp_path_factory.mktemp("large")
    block = np.random.default_rng(0).random((20, 10, 7, 7, 512))
    with h5py.File(folder / VISUAL, "w") as file:
        data = file.create_dataset("avadataset", (120, *block.shape[1:]), np.float64)
        for start in range(0, 120, 20):
            data[start : start + 20] = block + start
    write(folder / "audio_feature.h5", np.random.default_rng(1).random((120, 10, 128)))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_interrupted_file_is_not_there_and_finished_ones_are_skipped(run, large_source, tmp_path, number, status):
    with Process("tools.pack_features", "--data_root", large_source, "--out", tmp_path) as process:
        process.read_until(f"writing {VISUAL}")
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == status
    assert "Traceback" not in said
    assert {path.name for path in tmp_path.iterdir()} - {f"{VISUAL}.partial"} == {"audio_feature.h5"}

    written = (tmp_path / "audio_feature.h5").stat().st_mtime_ns
    for _ in range(2):
        said = pack(run, large_source, tmp_path)
        assert "audio_feature.h5: float64 to float16, 0.00 GB, verified" in said
    assert f"writing {VISUAL}" not in said
    assert_packed(large_source, tmp_path, "float16")
    assert (tmp_path / "audio_feature.h5").stat().st_mtime_ns == written


@pytest.mark.parametrize("size", [1000, 2**18])
def test_full_disk_is_one_sentence_and_leaves_no_part_of_a_file(run, source, tmp_path, size):
    """Files that cannot grow beyond ``size`` bytes stand for the full disk."""
    command = ("tools.pack_features", "--data_root", source, "--out", tmp_path)
    result = finished(*command, set_up=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)))
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path}: cannot be written: ")
    assert "Traceback" not in result.stderr
    assert not [path.name for path in tmp_path.iterdir() if path.name in (VISUAL, f"{VISUAL}.partial")]
    pack(run, source, tmp_path)
    assert_packed(source, tmp_path, "float16")
