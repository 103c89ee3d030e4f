"""Label and order files follow from the data set's own text files."""

import os
import resource
import sys
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from dataset.annotations import read_annotations
from tests.processes import finished
from tools.make_labels import main
from utils.errors import InputError

HEADER = "Category&VideoID&Quality&StartTime&EndTime\n"
LINES = ("Truck&a&good&0&10\n", "Violin, fiddle&b&bad&2&5\n", "Truck&b&good&9&10\n", "Bark&d&good&0&0\n")
LABELS = ["mil_labels.h5", "right_labels.h5"]


def read(path):
    with h5py.File(path) as file:
        (key,) = file
        assert key == ("order" if "order" in path.name else "avadataset")
        return file[key][()]


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "Annotations.txt"
    path.write_text("".join(LINES))
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("header", ["", HEADER])
def test_labels_are_written_with_or_without_header_line(run, annotations, tmp_path, header):
    annotations.write_text(header + "".join(LINES))
    out = tmp_path / "new" / "data"
    said = run("tools.make_labels", "--annotations", annotations, "--out", out)
    assert names(out) == LABELS
    segments, videos = (read(out / f"{name}.h5") for name in ("right_labels", "mil_labels"))
    assert {values.dtype for values in (segments, videos)} == {np.dtype("f4")}
    assert segments.argmax(axis=2).tolist() == [
        [0] * 10,
        [3, 3, 1, 1, 1, 3, 3, 3, 3, 3],
        [3] * 9 + [0],
        [3] * 10,
    ]
    assert videos.argmax(axis=1).tolist() == [0, 1, 0, 2]
    assert all((values.sum(axis=-1) == 1).all() for values in (segments, videos))
    assert said.stdout == ""


def test_number_of_events_is_said_and_a_likely_slip_is_warned_of(run, annotations, tmp_path):
    annotations.write_text("".join(LINES) + "Barc&e&good&0&3\nBark&f&good&0&3\n" + LINES[0])
    said = run("tools.make_labels", "--annotations", annotations, "--out", tmp_path / "data").stderr.splitlines()
    assert said[:4] == [
        f"{annotations}: 4 events in 7 videos of 10 segments",
        f"warning: {annotations}: only one video is annotated 'Violin, fiddle': is it misspelt?",
        f"warning: {annotations}: only one video is annotated 'Barc': is it misspelt?",
        f"warning: {annotations}: 2 lines annotate video 'a' with 'Truck', expected one",
    ]


def test_orders_are_the_rows_of_the_sets_in_their_order(run, annotations, tmp_path):
    """A video that occurs under two events is told by its event."""
    sets = {"train": LINES[2] + LINES[0], "val": HEADER + LINES[3], "test": LINES[1].replace("2&5", "0&9")}
    given = []
    for split, text in sets.items():
        (tmp_path / f"{split}Set.txt").write_text(text)
        given += [f"--{split}_set", tmp_path / f"{split}Set.txt"]
    out = tmp_path / "data"
    run("tools.make_labels", "--annotations", annotations, "--out", out, *given, "--noisy", 7)
    orders = [read(out / f"{split}_order.h5") for split in sets]
    assert [order.tolist() for order in orders] == [[2, 0], [3], [1]]
    assert {order.dtype for order in orders} == {np.dtype("i8")}
    noisy = read(out / "labels_noisy.h5")
    assert noisy.shape == (7, 4)
    assert noisy.argmax(axis=1).tolist() == [3] * 7


def test_lists_of_a_spreadsheet_stand_for_the_same_rows(run, annotations, tmp_path):
    (tmp_path / "trainSet.txt").write_text(HEADER + LINES[2] + LINES[1], encoding="utf-16")
    given = ("--train_set", tmp_path / "trainSet.txt")
    run("tools.make_labels", "--annotations", annotations, "--out", tmp_path / "data", *given)
    assert read(tmp_path / "data" / "train_order.h5").tolist() == [2, 1]


def write_features(path, shape):
    with h5py.File(path, "w") as file:
        file["avadataset"] = np.zeros(shape)


def test_noisy_labels_are_as_many_as_the_noisy_features_in_the_folder(run, annotations, tmp_path):
    write_features(tmp_path / "audio_feature_noisy.h5", (5, 10, 64))
    run("tools.make_labels", "--annotations", annotations, "--out", tmp_path)
    assert read(tmp_path / "labels_noisy.h5").shape == (5, 4)


@pytest.mark.parametrize("name", ["visual_feature.h5", "audio_feature.h5"])
def test_labels_have_as_many_segments_as_the_features_in_the_folder(run, annotations, tmp_path, name):
    write_features(tmp_path / name, (4, 12, 3, 4, 16) if "visual" in name else (4, 12, 8))
    said = run("tools.make_labels", "--annotations", annotations, "--out", tmp_path).stderr
    assert f"{annotations}: 3 events in 4 videos of 12 segments" in said
    assert read(tmp_path / "right_labels.h5").shape == (4, 12, 4)
    said = run("tools.make_labels", "--annotations", annotations, "--out", tmp_path, "--segments", 10, status=2).stderr
    assert f"--segments is 10, but the features in {tmp_path} have 12 segments: leave it out" in said


def test_number_of_segments_is_given_where_there_are_no_features(run, annotations, tmp_path):
    run("tools.make_labels", "--annotations", annotations, "--out", tmp_path / "data", "--segments", 11)
    labels = read(tmp_path / "data" / "right_labels.h5")
    assert labels.shape == (4, 11, 4)
    assert labels[:, 10].argmax(axis=1).tolist() == [3] * 4
    said = run("tools.make_labels", "--annotations", annotations, "--out", tmp_path, "--segments", 6, status=2).stderr
    assert f"{annotations}, line 1: the event lasts from 0 to 10 s, expected 0 <= start <= end <= 6" in said


def test_files_are_replaced_only_on_request(run, annotations, tmp_path):
    out = tmp_path / "data"
    out.mkdir()
    (out / "mil_labels.h5").write_text("mine")
    result = run("tools.make_labels", "--annotations", annotations, "--out", out, status=2)
    assert f"{out} already holds mil_labels.h5" in result.stderr
    assert "--overwrite" in result.stderr
    assert names(out) == ["mil_labels.h5"]
    assert (out / "mil_labels.h5").read_text() == "mine"
    run("tools.make_labels", "--annotations", annotations, "--out", out, "--overwrite")
    assert read(out / "mil_labels.h5").shape == (4, 4)


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_file_of_another_writer_that_holds_the_same_is_left_identity(monkeypatch, capsys, annotations, tmp_path, flags):
    """Byte for byte, as its recorded SHA-256 needs it; other values or another type are not the same."""
    out = tmp_path / "data"
    given = ["make_labels", "--annotations", str(annotations), "--out", str(out), *flags]
    monkeypatch.setattr(sys, "argv", given)
    main()
    path = out / "mil_labels.h5"
    values, ours = read(path), path.read_bytes()
    with h5py.File(path, "w") as file:
        file.create_dataset("avadataset", data=values, chunks=(2, 2), compression="gzip")
    theirs = path.read_bytes()
    assert theirs != ours
    main()
    assert path.read_bytes() == theirs
    assert f"{path}: (4, 4), float32, is there already\n" in capsys.readouterr().err

    for other in (values.astype("f8"), 1 - values, values[:-1]):
        with h5py.File(path, "w") as file:
            file["avadataset"] = other
        if flags:
            main()
            assert path.read_bytes() == ours
        else:
            with pytest.raises(InputError, match=r"already holds mil_labels\.h5 with other contents"):
                main()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            LINES[1] + "Bark&a&good&0&10\n",
            ", line 2: the annotations have no line 'Bark&a': the clip has no features or",
        ),
        (LINES[0] + LINES[1] + LINES[0], "has Truck&a more than once"),
        ("Truck, a\n", ", line 1: 'Truck, a' has 1 field between '&', expected 'event&video id&quality&start&end'"),
        ("", "has no annotations"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_set_that_does_not_fit_is_refused_and_nothing_written(monkeypatch, annotations, tmp_path, text, said):
    path, out = tmp_path / "trainSet.txt", tmp_path / "data"
    if text is not None:
        path.write_text(text)
    given = ["--annotations", annotations, "--out", out, "--train_set", path]
    monkeypatch.setattr(sys, "argv", ["make_labels", *map(str, given)])
    with pytest.raises(InputError) as error:
        main()
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)
    assert not out.exists()


def test_list_that_names_a_video_of_two_lines_says_which_line_and_what_to_do(run, annotations, tmp_path):
    annotations.write_text("".join(LINES) + LINES[0])
    (tmp_path / "train.txt").write_text(LINES[1] + LINES[0])
    given = ("--annotations", annotations, "--out", tmp_path / "data", "--train_set", tmp_path / "train.txt")
    said = run("tools.make_labels", *given, status=2).stderr
    assert "train.txt, line 2: the annotations have 2 lines 'Truck&a', expected one: leave one of them there" in said


def test_video_that_stands_in_two_sets_is_refused(run, annotations, tmp_path):
    (tmp_path / "one").write_text(LINES[0] + LINES[1])
    (tmp_path / "other").write_text(LINES[1])
    given = ("--train_set", tmp_path / "one", "--test_set", tmp_path / "other")
    result = run("tools.make_labels", "--annotations", annotations, "--out", tmp_path / "data", *given, status=2)
    assert "share 1 video, expected none: Violin, fiddle&b is one" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "the following arguments are required: --annotations, --out"),
        (["--annotations", "FILE", "--out", "data", "--noisy", 0], "argument --noisy: 0, expected 1 or more"),
        (["--annotations", "FILE", "--out", "data", "--segments", 0], "argument --segments: 0, expected 1 or more"),
        (["--annotations", "FILE", "--out", "/dev/null/data"], "/dev/null/data: cannot be written"),
        (
            ["--annotations", "FILE", "--out", "/dev/null"],
            "/dev/null: cannot be written: a file is there, expected a d",
        ),
        (["--annot", "FILE", "--out", "data"], "--annotations"),
    ],
)
def test_wrong_flags_are_one_sentence_and_status_2(run, annotations, arguments, said):
    given = [annotations if argument == "FILE" else argument for argument in arguments]
    assert said in run("tools.make_labels", *given, status=2).stderr


def test_full_disk_leaves_no_file(annotations, tmp_path):
    """Half of the files would fit."""
    command = ("tools.make_labels", "--annotations", annotations, "--out", tmp_path / "data")
    result = finished(*command, set_up=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2200, 2200)))
    assert result.returncode == 2, result.stderr
    assert result.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'data'}")
    assert "Traceback" not in result.stderr
    assert names(tmp_path / "data") == []


# The published files, where the environment variable MAGAN_AVE_DATA names a folder that has them.

REAL = os.environ.get("MAGAN_AVE_DATA")
needs_real_files = pytest.mark.skipif(REAL is None, reason="MAGAN_AVE_DATA names no folder with the files of AVE")


@needs_real_files
@pytest.mark.parametrize("header", ["", HEADER])
def test_files_of_ave_are_the_published_ones(run, tmp_path, header):
    """Exactly: values, shape, type and key. The sets are those that the published orders stand for."""
    real = Path(REAL)
    lines = [line + "\n" for line in (real / "Annotations.txt").read_text().splitlines() if line + "\n" != HEADER]
    (tmp_path / "Annotations.txt").write_text(header + "".join(lines))
    given = []
    for split in ("train", "val", "test"):
        rows = read(real / f"{split}_order.h5")
        (tmp_path / f"{split}Set.txt").write_text("".join(lines[row] for row in rows))
        given += [f"--{split}_set", tmp_path / f"{split}Set.txt"]
    out = tmp_path / "data"
    said = run("tools.make_labels", "--annotations", tmp_path / "Annotations.txt", "--out", out, *given).stderr
    assert said.startswith(f"{tmp_path / 'Annotations.txt'}: 28 events in 4143 videos of 10 segments\n")
    assert "warning" not in said
    for name in ("mil_labels", "labels_noisy", "train_order", "val_order", "test_order"):
        made, published = read(out / f"{name}.h5"), read(real / f"{name}.h5")
        assert made.dtype == published.dtype
        np.testing.assert_array_equal(made, published)

    segments, annotations = read(out / "right_labels.h5"), read_annotations(real / "Annotations.txt")
    assert segments.shape == (4143, 10, 29)
    assert segments[..., :-1].sum() == sum(annotation.end - annotation.start for annotation in annotations)
    np.testing.assert_array_equal(segments.any(axis=1)[:, :-1].sum(axis=1), [float(row != 26) for row in range(4143)])
