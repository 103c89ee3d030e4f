"""Synthetic data: same seed, same videos; their truth is true; they are written whole or not at all."""

import resource
import signal
import subprocess
import sys
import time
from functools import partial

import h5py
import numpy as np
import pytest
import torch

from dataset import AVEFolder
from dataset.annotations import read_annotations, segment_labels, video_labels
from dataset.synthetic import NO_CLASS, SyntheticAVE, write_synthetic_ave
from model import MAGANConfig
from tests.processes import ENVIRONMENT, ROOT, Process, finished
from tools import make_data
from utils.errors import InputError

LAYOUT = {
    *(f"{modality}_feature{noisy}.h5" for modality in ("visual", "audio") for noisy in ("", "_noisy")),
    *("right_labels.h5", "mil_labels.h5", "labels_noisy.h5", "train_order.h5", "val_order.h5", "test_order.h5"),
    *("Annotations.txt", "truth.h5"),
}
COMMAND = [sys.executable, "-m", "tools.make_data"]


def read(folder, name, key="avadataset"):
    with h5py.File(folder / name) as file:
        return file[key][()]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def correlation(values, prototypes):
    """Of every vector of ``values`` (..., d) with every prototype (K, d): (..., K)."""
    values, prototypes = (x.astype(float) - x.mean(axis=-1, keepdims=True, dtype=float) for x in (values, prototypes))
    values, prototypes = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (values, prototypes))
    return values @ prototypes.T


def write(folder, num_videos, num_noisy=5, dtype="float16", signal=2.0, map_size=1, seed=0):
    generator = SyntheticAVE(num_events=5, signal=signal, map_size=map_size, seed=seed)
    folder.mkdir()
    write_synthetic_ave(folder, generator, generator.annotations(num_videos), num_noisy, dtype)
    return generator


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder of 40 videos with 5 x 5 maps, and the generator that made it."""
    folder = tmp_path_factory.mktemp("synthetic") / "data"
    return folder, write(folder, 40, num_noisy=12, map_size=5)


@pytest.fixture
def make(monkeypatch):
    """Run ``python -m tools.make_data`` with some flags, in this process."""

    def run_main(*flags):
        monkeypatch.setattr(sys, "argv", ["make_data", *map(str, flags)])
        make_data.main()

    return run_main


# Seeds


def test_video_does_not_depend_on_what_else_is_generated(tmp_path):
    """Row 7 of 40 videos is row 7 of 80, and row 7 alone."""
    generator = write(tmp_path / "few", 40, num_noisy=3)
    write(tmp_path / "many", 80, num_noisy=9)
    few, many = (read_annotations(tmp_path / name / "Annotations.txt") for name in ("few", "many"))
    assert few == many[:40]
    parts = {
        **{
            f"{modality}_feature{noisy}.h5": ["avadataset"]
            for modality in ("visual", "audio")
            for noisy in ("", "_noisy")
        },
        "truth.h5": ["regions", "seen", "heard", "bias"],
        "right_labels.h5": ["avadataset"],
        "mil_labels.h5": ["avadataset"],
    }
    for name, keys in parts.items():
        for key in keys:
            values = read(tmp_path / "few", name, key)
            np.testing.assert_array_equal(values, read(tmp_path / "many", name, key)[: len(values)])

    alone = generator.video(7, 7 % 5, few[7].start, few[7].end)
    np.testing.assert_array_equal(alone.visual.astype("f2"), read(tmp_path / "many", "visual_feature.h5")[7])
    np.testing.assert_array_equal(alone.audio.astype("f2"), read(tmp_path / "many", "audio_feature.h5")[7])


def test_same_seed_gives_the_same_data_and_another_seed_other_data(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        write(tmp_path / name, 20, seed=seed)
    for name in LAYOUT - {"Annotations.txt"}:
        with h5py.File(tmp_path / "one" / name) as file:
            keys = list(file)
        for key in keys:
            np.testing.assert_array_equal(read(tmp_path / "one", name, key), read(tmp_path / "again", name, key))
    for name in ("visual_feature.h5", "audio_feature.h5", "visual_feature_noisy.h5", "audio_feature_noisy.h5"):
        one, other = (read(tmp_path / which, name) for which in ("one", "other"))
        assert not (one == other).all(axis=tuple(range(1, one.ndim))).any()
    for name in ("Annotations.txt", "train_order.h5"):
        assert (tmp_path / "one" / name).read_bytes() != (tmp_path / "other" / name).read_bytes()


def test_no_two_videos_are_alike(written):
    folder, _ = written
    videos = [video.tobytes() for name in ("", "_noisy") for video in read(folder, f"audio_feature{name}.h5")]
    assert len(set(videos)) == 40 + 12


# What is written


def test_folder_is_a_whole_ave_folder(written):
    folder, _ = written
    assert {path.name for path in folder.iterdir()} == LAYOUT
    ours = AVEFolder(folder, MAGANConfig(num_events=5), torch.float32)
    assert [len(ours.split(name)) for name in ("train", "val", "test")] == [32, 4, 4]
    assert len(ours.weakly_labelled()) == 32 + 12
    assert ours.class_names() == [f"event {k:02d}" for k in range(5)]
    assert ours.split("test")[0].visual.shape == (10, 5, 5, 512)


@pytest.mark.parametrize("name", ["visual_feature", "audio_feature", "visual_feature_noisy", "audio_feature_noisy"])
def test_features_are_finite_and_at_least_zero_like_those_of_a_relu(written, name):
    folder, _ = written
    features = read(folder, f"{name}.h5")
    assert features.dtype == np.float16
    assert np.isfinite(features).all()
    assert features.min() == 0
    assert 0.1 < (features == 0).mean() < 0.9


def test_loudest_signal_still_fits_into_float16():
    generator = SyntheticAVE(num_events=28, signal=999.0, map_size=1, seed=0)
    for event in range(28):
        video = generator.video(event, event, 0, 10)
        assert np.isfinite(video.visual.astype("f2")).all()
        assert np.isfinite(video.audio.astype("f2")).all()


def test_features_are_float16_unless_asked_otherwise(make, tmp_path):
    common = ("--videos", 6, "--classes", 3, "--map_size", 1)
    make("--out", tmp_path / "default", *common)
    make("--out", tmp_path / "float64", *common, "--dtype", "float64")
    for name in ("visual_feature.h5", "audio_feature.h5", "visual_feature_noisy.h5", "audio_feature_noisy.h5"):
        default, asked = (read(tmp_path / which, name) for which in ("default", "float64"))
        assert (default.dtype, asked.dtype) == (np.float16, np.float64)
        np.testing.assert_array_equal(asked.astype("f2"), default)


@pytest.mark.parametrize("num_videos", [3, 4, 28, 280, 4143])
def test_splits_are_disjoint_and_complete_and_none_is_empty(num_videos):
    splits = SyntheticAVE(num_events=5, signal=1, map_size=1, seed=0).splits(num_videos)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(num_videos))
    assert all(len(rows) for rows in splits.values())
    if num_videos == 4143:
        assert {name: len(rows) for name, rows in splits.items()} == {"train": 3339, "val": 402, "test": 402}


def test_labels_are_those_of_the_written_annotations(written):
    folder, _ = written
    annotations = read_annotations(folder / "Annotations.txt", num_segments=10)
    assert len(annotations) == 40
    np.testing.assert_array_equal(read(folder, "right_labels.h5"), segment_labels(annotations))
    np.testing.assert_array_equal(read(folder, "mil_labels.h5"), video_labels(annotations))
    noisy = read(folder, "labels_noisy.h5")
    assert noisy.tolist() == [[0, 0, 0, 0, 0, 1]] * 12


def test_labels_come_from_a_given_annotation_file(make, tmp_path):
    lines = "Truck, lorry (big)&a&good&0&10\nBark&b&good&2&4\nBark&a&bad&5&5\nTruck, lorry (big)&c&good&9&10\n"
    (tmp_path / "given.txt").write_text("Category&VideoID&Quality&StartTime&EndTime\n" + lines)
    make("--out", tmp_path / "out", "--annotations", tmp_path / "given.txt", "--map_size", 2)
    assert (tmp_path / "out" / "Annotations.txt").read_text() == lines
    assert read(tmp_path / "out", "mil_labels.h5").argmax(axis=1).tolist() == [0, 1, 1, 0]
    spans = [[0] * 10, [2, 2, 1, 1] + [2] * 6, [2] * 10, [2] * 9 + [0]]
    assert read(tmp_path / "out", "right_labels.h5").argmax(axis=2).tolist() == spans
    seen, heard = (read(tmp_path / "out", "truth.h5", name) for name in ("seen", "heard"))
    assert np.where((seen == heard) & (seen != NO_CLASS), seen, 2).tolist() == spans


# The truth


def test_event_is_both_seen_and_heard_exactly_on_its_annotated_segments(written):
    folder, _ = written
    seen, heard = (read(folder, "truth.h5", name) for name in ("seen", "heard"))
    labels = read(folder, "right_labels.h5").argmax(axis=2)
    np.testing.assert_array_equal(np.where((seen == heard) & (seen != NO_CLASS), seen, 5), labels)


def test_both_kinds_of_distractors_occur_with_the_class_of_the_event_and_with_others(written):
    folder, _ = written
    seen, heard = (read(folder, "truth.h5", name) for name in ("seen", "heard"))
    event = read(folder, "mil_labels.h5").argmax(axis=1)[:, None]
    background = read(folder, "right_labels.h5").argmax(axis=2) == 5
    for here, there in ((seen, heard), (heard, seen)):
        alone = background & (here != NO_CLASS)
        assert (there[alone] == NO_CLASS).all()
        assert (alone & (here == event)).any()
        assert (alone & (here != event)).any()
    assert (background & (seen == NO_CLASS) & (heard == NO_CLASS)).any()


def test_regions_are_one_block_where_the_event_is_and_nothing_elsewhere(written):
    folder, _ = written
    regions = read(folder, "truth.h5", "regions")
    event = read(folder, "right_labels.h5").argmax(axis=2) != 5
    assert regions.shape == (40, 10, 5, 5)
    assert set(np.unique(regions)) == {0, 1}
    np.testing.assert_array_equal(regions.any(axis=(2, 3)), event)
    sizes = set()
    for video, on in zip(regions, event, strict=True):
        block = video[on][0]
        assert (video[on] == block).all()
        rows, columns = (np.flatnonzero(block.any(axis=axis)) for axis in (1, 0))
        assert block[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert block.sum() == len(rows) * len(columns) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        sizes.add((len(rows), len(columns), rows[0], columns[0]))
    assert len(sizes) > 10


def test_picture_of_the_event_is_in_its_regions_and_not_around_them(written):
    folder, generator = written
    visual, regions = read(folder, "visual_feature.h5"), read(folder, "truth.h5", "regions").astype(bool)
    alike = correlation(visual, generator.visual_prototypes)
    compared = 0
    for row, event in enumerate(read(folder, "mil_labels.h5").argmax(axis=1)):
        on = regions[row].any(axis=(1, 2))
        inside, outside = alike[row, on][regions[row, on]], alike[row, on][~regions[row, on]]
        assert inside[:, event].mean() > 0.2
        assert inside.mean(axis=0).argmax() == event
        if len(outside):
            assert abs(outside[:, event].mean()) < 0.05
            compared += 1
    assert compared > 20


def test_truth_tells_which_class_is_in_the_picture_and_in_the_sound(tmp_path):
    """Where the signal is strong, the nearest prototype gives the truth, distractors included."""
    generator = write(tmp_path / "strong", 40, signal=5, map_size=2)
    visual = read(tmp_path / "strong", "visual_feature.h5").reshape(40, 10, 4, 512)
    audio = read(tmp_path / "strong", "audio_feature.h5")
    for name, alike in (
        ("seen", correlation(visual, generator.visual_prototypes).max(axis=2)),
        ("heard", correlation(audio, generator.audio_prototypes)),
    ):
        nearest = np.where(alike.max(axis=-1) > 0.45, alike.argmax(axis=-1), NO_CLASS)
        np.testing.assert_array_equal(nearest, read(tmp_path / "strong", "truth.h5", name), err_msg=name)


def test_noisy_videos_have_pictures_and_sounds_but_never_of_one_class_at_once():
    generator = SyntheticAVE(num_events=3, signal=2, map_size=1, seed=0)
    videos = [generator.noisy_video(row) for row in range(200)]
    seen, heard, regions = (
        np.stack([getattr(video, name) for video in videos]) for name in ("seen", "heard", "regions")
    )
    assert set(np.unique(seen)) == set(np.unique(heard)) == {NO_CLASS, 0, 1, 2}
    assert not ((seen == heard) & (seen != NO_CLASS)).any()
    assert not regions.any()


# Whole or not at all


def start_and_wait_until_midway(folder, *flags):
    """Start to write data that takes a minute, and come back when some of it is written."""
    process = Process("tools.make_data", "--out", folder, "--videos", 5000, "--classes", 2, *flags)
    written = folder / "visual_feature.h5.partial"
    while not (written.exists() and written.stat().st_size > 2**22):
        assert not process.ended(), process.stderr.read()
        time.sleep(0.01)
    return process


@pytest.mark.parametrize(
    ("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_data_that_is_broken_off_leaves_no_file_of_the_layout(make, tmp_path, signal_number, status):
    with start_and_wait_until_midway(tmp_path) as process:
        process.send_signal(signal_number)
        said = process.stderr.read()
    assert process.returncode == status
    assert "Traceback" not in said
    assert not LAYOUT & set(contents(tmp_path))
    if signal_number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []

    make("--out", tmp_path, "--videos", 3, "--classes", 3, "--map_size", 1)
    assert set(contents(tmp_path)) == LAYOUT


def test_data_that_is_broken_off_leaves_the_data_it_would_have_replaced(tmp_path):
    folder = tmp_path / "data"
    write(folder, 3)
    before = contents(folder)
    with start_and_wait_until_midway(folder, "--overwrite") as process:
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 143
    assert contents(folder) == before


def test_full_disk_is_told_in_one_sentence_and_leaves_no_file(tmp_path):
    """A limit on the size of files stands for the full disk: a write fails midway."""
    command = ("tools.make_data", "--out", tmp_path, "--videos", 28, "--map_size", 3)
    result = finished(*command, set_up=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2**20, 2**20)))
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(f"error: {tmp_path}: cannot be written: ")
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_data_is_not_replaced_unless_asked_to(run, make, tmp_path):
    folder = tmp_path / "data"
    write(folder, 6)
    before = contents(folder)
    flags = ("--out", folder, "--videos", 5, "--classes", 5, "--map_size", 1)
    result = run("tools.make_data", *flags, status=2)
    assert result.stderr == (
        f"error: {folder} already holds visual_feature.h5: name another folder, or give --overwrite\n"
    )
    assert contents(folder) == before

    make(*flags, "--overwrite")
    assert len(read_annotations(folder / "Annotations.txt")) == 5
    assert set(contents(folder)) == LAYOUT


@pytest.mark.parametrize("name", sorted(LAYOUT - {"truth.h5"}))
def test_one_file_of_the_layout_keeps_a_folder_from_being_written_into(make, tmp_path, name):
    (tmp_path / name).write_text("precious")
    with pytest.raises(InputError, match="already holds"):
        make("--out", tmp_path, "--videos", 3, "--classes", 3, "--map_size", 1)
    assert contents(tmp_path) == {name: b"precious"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--videos", 27), "--videos is 27, expected at least 28"),
        (("--videos", 2, "--classes", 1), "--videos is 2, expected at least 3"),
        (("--videos", 28, "--seed", -1), "--seed is -1, expected 0 or more"),
        (("--videos", 28, "--signal", 0), "--signal is 0.0, expected more than 0"),
        (("--videos", 28, "--signal", "nan"), "--signal is nan, expected more than 0"),
    ],
)
def test_flag_out_of_range_is_named_with_what_was_expected(make, tmp_path, flags, said):
    with pytest.raises(InputError) as error:
        make("--out", tmp_path / "out", *flags)
    assert str(error.value).startswith(said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flag", ["--videos", "--classes", "--noisy", "--map_size"])
def test_number_below_1_is_named_with_what_was_expected(make, tmp_path, capsys, flag):
    with pytest.raises(SystemExit) as error:
        make("--out", tmp_path / "out", "--videos", 28, flag, 0)
    assert error.value.code == 2
    assert f"error: argument {flag}: 0, expected 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", [(), ("--videos", 28, "--annotations", "x"), ("--videos", 28, "--class", 2)])
def test_missing_contradictory_and_abbreviated_flags_are_refused(make, tmp_path, capsys, flags):
    with pytest.raises(SystemExit) as error:
        make("--out", tmp_path / "out", *flags)
    assert error.value.code == 2
    assert "usage: python -m tools.make_data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("num_lines", [1, 2])
def test_annotations_that_do_not_fill_three_splits_are_refused(make, tmp_path, num_lines):
    (tmp_path / "given.txt").write_text("Truck&a&good&0&10\n" * num_lines)
    with pytest.raises(InputError, match=str(num_lines)):
        make("--out", tmp_path / "out", "--annotations", tmp_path / "given.txt", "--map_size", 1)
    assert not (tmp_path / "out").exists()


def test_bad_annotations_and_a_folder_that_cannot_be_made_are_named(run, make, tmp_path):
    (tmp_path / "given.txt").write_text("Truck&a&good&0&10\nTruck&a&good&0&11\n")
    with pytest.raises(InputError, match="line 2: "):
        make("--out", tmp_path / "out", "--annotations", tmp_path / "given.txt")
    occupied = tmp_path / "given.txt" / "out"
    result = run("tools.make_data", "--out", occupied, "--videos", 28, "--map_size", 1, status=2)
    assert result.stderr.startswith(f"error: {occupied}: cannot be written: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems count memory in other units")
def test_memory_does_not_grow_with_the_number_of_videos(tmp_path):
    """Ninety more videos are 90 MB more on the way and 180 MB more on disk."""
    # The process in between is small: what a parent takes when it starts a child counts as the child's.
    peak_of_child = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)"
    )
    peaks = []
    for num_videos in (30, 120):
        flags = ["--out", str(tmp_path / str(num_videos)), "--videos", str(num_videos), "--dtype", "float64"]
        result = subprocess.run(
            [sys.executable, "-c", peak_of_child, *COMMAND, *flags],
            cwd=ROOT,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        )
        peaks.append(float(result.stdout))
    assert peaks[1] - peaks[0] < 40, f"{peaks} MB"
