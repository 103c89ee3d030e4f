"""Every kind of damage to a data folder is found, in a sentence that names the file and with a cure."""

import hashlib
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs import MAGANConfig
from dataset.doctor import checks
from dataset.doctor.checks import check_folder, require_valid_data
from dataset.doctor.findings import ERROR, NOTE, WARNING
from dataset.doctor.values import SAMPLED
from dataset.layout import ANNOTATIONS, FILES, REPOSITORY, require_files
from utils.errors import InputError

BOTH = ("supervised", "weakly")


@pytest.fixture
def root(data_root, tmp_path):
    """A sound folder to spoil: 60 videos, 3 noisy ones."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


def look(root, **options):
    return check_folder(root, MAGANConfig(), **options)


def read(path):
    with h5py.File(path) as file:
        return file["order" if "order" in path.name else "avadataset"][()]


def write(path, values, key=None):
    with h5py.File(path, "w") as file:
        file[key or ("order" if "order" in path.name else "avadataset")] = values


def change(path, rows, value):
    """Set rows of a file to ``value``."""
    values = read(path)
    values[rows] = value
    write(path, values)


def exchange(root, one, other):
    (root / one).rename(root / "aside")
    (root / other).rename(root / one)
    (root / "aside").rename(root / other)


def only(report, level=ERROR):
    """The only finding of a level."""
    (finding,) = report.of(level)
    return finding


def verdict(report, name):
    (line,) = [line for line in report.lines if line.file == name]
    return line.values


def test_sound_folder_has_no_finding_and_both_settings_can_run(root):
    for full in (False, True):
        report = look(root, full=full)
        assert report.findings == []
        assert all(map(report.can_run, BOTH))
        assert all(line.values.startswith("ok") for line in report.lines)
    assert [line.file for line in report.lines] == [*FILES, ANNOTATIONS]
    assert report.lines[0]._replace(values="", size="") == (
        *("visual_feature.h5", "avadataset", "(60, 10, 2, 2, 512)", "float16", "", ""),
    )


@pytest.mark.parametrize("name", FILES)
def test_missing_file_keeps_from_running_what_needs_it(root, name):
    (root / name).unlink()
    finding = only(look(root))
    assert finding.sentence == f"{root / name}: is missing"
    assert finding.settings == (("weakly",) if "noisy" in name or name == "mil_labels.h5" else BOTH)
    assert FILES[name].source in finding.cure or "make_labels" in finding.cure


@pytest.mark.parametrize("name", FILES)
def test_folder_in_place_of_a_file_is_called_so(root, name):
    (root / name).unlink()
    (root / name).mkdir()
    report = look(root)
    assert only(report).sentence == f"{root / name}: is a folder, expected a file"
    assert only(report).cure.startswith("delete it and ")
    assert verdict(report, name) == "a folder"
    with pytest.raises(InputError, match="is a folder, expected a file: "):
        require_files(root, FILES)


def test_folder_in_place_of_the_annotations_is_called_so(root):
    (root / ANNOTATIONS).unlink()
    (root / ANNOTATIONS).mkdir()
    note = only(look(root), NOTE)
    assert f"{root / ANNOTATIONS}: is a folder, expected a file, so the events have numbers" in note.sentence
    assert note.cure.startswith("delete it and ")


def test_empty_folder_lacks_every_file(tmp_path):
    report = look(tmp_path)
    assert [finding.sentence for finding in report.of(ERROR)] == [f"{tmp_path / name}: is missing" for name in FILES]


def test_missing_annotations_are_worth_a_note(root):
    (root / ANNOTATIONS).unlink()
    report = look(root)
    assert report.of(ERROR) == []
    assert "is missing, so the events have numbers for names" in only(report, NOTE).sentence


# Damaged files


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_called_so_with_both_sizes(root, name):
    contents = (root / name).read_bytes()
    (root / name).write_bytes(contents[:-100])
    assert only(look(root)).sentence == (
        f"{root / name}: cannot be read as HDF5, it is truncated: {len(contents) - 100:,} bytes are there, "
        f"{len(contents):,} belong to it"
    )


def test_web_page_in_place_of_a_file_is_called_so(root):
    (root / "audio_feature.h5").write_text("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>")
    assert "it is a web page, which a server may send" in only(look(root)).sentence


@pytest.mark.parametrize("name", FILES)
def test_missing_key_is_named_with_what_there_is(root, name):
    write(root / name, read(root / name), key="dataset")
    finding = only(look(root))
    assert finding.sentence == f"{root / name}: has no data set '{FILES[name].key}', it has ['dataset']"


@pytest.mark.parametrize("chunks", [None, (1, 10, 128)])
def test_file_that_was_never_written_to_the_end_is_called_incomplete(root, chunks):
    """What HDF5 leaves behind when the program that writes a file gives up: it reads as zeros."""
    with h5py.File(root / "audio_feature.h5", "w") as file:
        data = file.create_dataset("avadataset", (60, 10, 128), "f4", chunks=chunks)
        if chunks:
            data[:20] = 1
    stored = "60 chunks, 20" if chunks else "307,200 bytes, 0"
    assert only(look(root)).sentence.endswith(
        f"is incomplete: its shape (60, 10, 128) stands for {stored} were written"
    )


def test_row_that_is_not_finite_is_named(root):
    change(root / "audio_feature.h5", (59, 3, 5), np.nan)
    assert only(look(root)).sentence == (
        f"{root / 'audio_feature.h5'}: 1 row of {SAMPLED} sampled ones holds values that are not finite: 59"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_full_look_finds_every_row_that_is_not_finite(root, value):
    for row in (1, 17, 58):
        change(root / "visual_feature.h5", (row, 3, 1, 0, 5), value)
    assert only(look(root, full=True)).sentence == (
        f"{root / 'visual_feature.h5'}: 3 rows hold values that are not finite: 1, 17, 58"
    )


def test_full_look_names_the_rows_that_cannot_be_read(root):
    values = read(root / "audio_feature.h5")
    with h5py.File(root / "audio_feature.h5", "w") as file:
        data = file.create_dataset("avadataset", data=values, chunks=(1, 10, 128), fletcher32=True)
        offset = data.id.get_chunk_info_by_coord((21, 0, 0)).byte_offset
    contents = bytearray((root / "audio_feature.h5").read_bytes())
    contents[offset] ^= 1
    (root / "audio_feature.h5").write_bytes(contents)
    assert only(look(root, full=True)).sentence.endswith("1 row cannot be read, the file is damaged: 21")


@pytest.mark.parametrize(("value", "what"), [(-1, "outside 0 to 10000"), (3e4, "outside 0 to 10000"), (0, "is zero")])
def test_odd_features_are_worth_a_warning(root, value, what):
    change(root / "visual_feature.h5", 0, value)
    report = look(root)
    assert all(map(report.can_run, BOTH))
    assert what in only(report, WARNING).sentence
    assert only(report, WARNING).sentence.endswith(": 0")


@pytest.mark.parametrize("name", ["right_labels.h5", "mil_labels.h5", "labels_noisy.h5"])
def test_labels_that_are_not_one_hot_are_found(root, name):
    change(root / name, 2, 0)
    assert "the labels of 1 rows are not one-hot (row 2 is the first)" in only(look(root)).sentence


def test_noisy_label_with_an_event_is_found(root):
    change(root / "labels_noisy.h5", 1, np.eye(29)[3])
    assert "1 row is labelled with an event (1), expected background throughout" in only(look(root)).sentence


# Orders


def test_order_out_of_range_is_found(root):
    change(root / "val_order.h5", 2, 60)
    assert f"{root / 'val_order.h5'}: row numbers from" in only(look(root)).sentence
    assert "to 60, expected 0 to 59" in only(look(root)).sentence


def test_row_that_an_order_names_twice_is_found(root):
    first, second = read(root / "train_order.h5")[:2]
    change(root / "train_order.h5", 0, second)
    report = look(root)
    assert only(report).sentence == f"{root / 'train_order.h5'}: names 1 row more than once: {second}"
    assert only(report, NOTE).sentence == f"{root}: 1 row belongs to no split: {first}"
    assert f"--annotations {root / ANNOTATIONS} --out {root} --overwrite --train_set FILE" in only(report, NOTE).cure


def test_splits_that_are_not_those_of_the_data_set_can_be_replaced_by_them(root, monkeypatch):
    """They are looked for only where there are as many videos as AVE has."""
    monkeypatch.setattr(checks, "_AVE", (60, 10, 3))
    note = only(look(root), NOTE)
    assert "the rows of train and val and test are not those of AVE's own splits" in note.sentence
    assert f"delete it and run python -m tools.download --data_root {root}, or copy it from {REPOSITORY}" in note.cure


def test_row_that_two_splits_share_is_found(root):
    row = read(root / "train_order.h5")[5]
    write(root / "test_order.h5", np.append(read(root / "test_order.h5"), row))
    assert only(look(root)).sentence == (
        f"{root / 'train_order.h5'} and test_order.h5 share 1 row ({row}), expected none"
    )


def test_video_that_two_splits_share_under_other_events_is_information(root):
    lines = (root / ANNOTATIONS).read_text().splitlines()
    row, other = read(root / "train_order.h5")[0], read(root / "test_order.h5")[0]
    lines[other] = lines[other].replace(f"synthetic{other:05d}", f"synthetic{row:05d}")
    (root / ANNOTATIONS).write_text("\n".join(lines))
    report = look(root)
    assert report.of(ERROR) == []
    assert only(report, NOTE).sentence.endswith(f"1 video id stands in both train and test: synthetic{row:05d}")


# Exchanged files


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("visual_feature.h5", "audio_feature.h5"),
        ("visual_feature_noisy.h5", "audio_feature_noisy.h5"),
        ("right_labels.h5", "mil_labels.h5"),
        ("audio_feature.h5", "right_labels.h5"),
        ("visual_feature.h5", "visual_feature_noisy.h5"),
        ("audio_feature.h5", "audio_feature_noisy.h5"),
        ("mil_labels.h5", "labels_noisy.h5"),
        ("train_order.h5", "val_order.h5"),
        ("train_order.h5", "test_order.h5"),
    ],
)
def test_exchanged_pair_is_found_as_such(root, one, other):
    exchange(root, one, other)
    finding = only(look(root))
    assert f"{root / one} and {other} are exchanged" in finding.sentence
    assert finding.cure == f"rename each to the other's name: {one} and {other}"


@pytest.mark.parametrize("order", ["train_order.h5", "val_order.h5", "test_order.h5"])
@pytest.mark.parametrize("other", [name for name, file in FILES.items() if file.key == "avadataset"])
def test_exchanged_pair_of_two_keys_is_found_as_such(root, order, other):
    """Neither has the key that belongs under its name."""
    exchange(root, order, other)
    one, two = sorted((order, other), key=list(FILES).index)
    finding = only(look(root))
    assert f"{root / one} and {two} are exchanged" in finding.sentence
    assert finding.cure == f"rename each to the other's name: {one} and {two}"


def test_key_of_other_files_that_no_exchange_explains_is_a_missing_key(root):
    shutil.copyfile(root / "train_order.h5", root / "audio_feature.h5")
    report = look(root)
    finding = only(report)
    assert finding.sentence == f"{root / 'audio_feature.h5'}: has no data set 'avadataset', it has ['order']"
    assert finding.cure.startswith("delete it and run python -m tools.download")
    assert verdict(report, "audio_feature.h5") == "WRONG"


def test_two_exchanged_pairs_are_two_findings(root):
    exchange(root, "visual_feature.h5", "visual_feature_noisy.h5")
    exchange(root, "audio_feature.h5", "audio_feature_noisy.h5")
    found = [finding.sentence.split(" are exchanged")[0] for finding in look(root).of(ERROR)]
    assert found == [
        f"{root / 'visual_feature.h5'} and visual_feature_noisy.h5",
        f"{root / 'audio_feature.h5'} and audio_feature_noisy.h5",
    ]


def test_exchanged_labels_of_equally_many_videos_are_found_by_what_they_say(root):
    labels = read(root / "mil_labels.h5")
    for name in ("visual_feature", "audio_feature"):
        shutil.copyfile(root / f"{name}.h5", root / f"{name}_noisy.h5")
    write(root / "labels_noisy.h5", labels)
    write(root / "mil_labels.h5", np.eye(29, dtype="f4")[[28] * 60])
    assert "mil_labels.h5 and labels_noisy.h5 are exchanged" in look(root).of(ERROR)[0].sentence


def test_val_and_test_of_the_data_set_itself_are_told_apart(root, monkeypatch):
    """Their sizes are the same; the rows are known."""
    digests = {
        split: hashlib.sha256(read(root / f"{split}_order.h5").tobytes()).hexdigest()
        for split in ("train", "val", "test")
    }
    monkeypatch.setattr(checks, "PUBLISHED_ORDERS", digests)
    assert look(root).findings == []
    exchange(root, "val_order.h5", "test_order.h5")
    assert "test_order.h5 and val_order.h5 are exchanged, they are AVE's" in only(look(root)).sentence
    shutil.copyfile(root / "test_order.h5", root / "val_order.h5")
    assert "holds the val rows of AVE, expected its test rows" in look(root).of(ERROR)[0].sentence


# Labels of another release


def test_label_that_the_annotations_contradict_is_named_by_its_row_and_in_words(root):
    labels = read(root / "right_labels.h5")
    lines = (root / ANNOTATIONS).read_text().splitlines()
    event, _, _, start, end = lines[7].split("&")
    for row in (7, 30):
        labels[row] = np.eye(29)[5]
    write(root / "right_labels.h5", labels)
    finding = only(look(root))
    assert f"{root / 'right_labels.h5'}: disagrees with the annotations in 2 of 60 rows (7, 30)" in finding.sentence
    assert "row 7 is annotated" in finding.sentence
    assert f"{event} {start}-{end}" in finding.sentence
    assert "labelled event 05 0-10; " in finding.sentence
    assert "is of another release" in finding.sentence
    assert f"--annotations {root / ANNOTATIONS} --out {root} --overwrite" in finding.cure


def test_video_label_that_the_annotations_contradict_is_named_by_its_row(root):
    change(root / "mil_labels.h5", 7, np.eye(29)[5])
    finding = only(look(root))
    assert finding.settings == ("weakly",)
    assert "in 1 of 60 rows (7): row 7 is annotated event 07 and labelled event 05" in finding.sentence


def test_labels_with_events_in_another_order_are_told_from_wrong_ones(root):
    for name in ("right_labels.h5", "mil_labels.h5"):
        labels = read(root / name)
        write(root / name, np.concatenate([labels[..., 27::-1], labels[..., 28:]], axis=-1))
    found = [finding.sentence for finding in look(root).of(ERROR)]
    assert len(found) == 2
    assert all("has the columns of the events in another order" in sentence for sentence in found)


def test_old_release_without_annotations_is_found_by_the_other_label_file(root):
    (root / ANNOTATIONS).unlink()
    change(root / "mil_labels.h5", 7, np.eye(29)[5])
    assert only(look(root)).sentence.endswith("names another event than right_labels.h5 in 1 row: 7")


def test_annotations_of_another_number_of_videos_are_found(root):
    lines = (root / ANNOTATIONS).read_text().splitlines()
    (root / ANNOTATIONS).write_text("\n".join(lines[:-1]))
    assert "has 59 videos, expected 60, as other files have: it is of another release" in only(look(root)).sentence


def test_labels_of_another_number_of_videos_are_found(root):
    write(root / "right_labels.h5", read(root / "right_labels.h5")[:50])
    assert "shape (50, 10, 29), expected (60, 10, 29)" in only(look(root)).sentence


@pytest.mark.parametrize(
    ("line", "said"), [("Truck, a, good", "line 1"), ("event 00&a&good&3&12", "line 1: the event")]
)
def test_bad_annotation_line_is_found(root, line, said):
    lines = (root / ANNOTATIONS).read_text().splitlines()
    (root / ANNOTATIONS).write_text("\n".join([line, *lines[1:]]))
    assert said in only(look(root)).sentence


def test_old_label_file_beside_the_right_one_is_worth_a_note(root):
    shutil.copyfile(root / "mil_labels.h5", root / "labels.h5")
    assert only(look(root), NOTE).sentence == f"{root / 'labels.h5'}: is not read, right_labels.h5 wins"


def test_data_of_other_widths_and_events_is_measured_by_the_config(root):
    report = check_folder(root, MAGANConfig(num_events=5, visual_dim=256))
    assert not any(map(report.can_run, BOTH))
    found = " ".join(finding.sentence for finding in report.of(ERROR))
    assert "the last one 256 long" in found
    assert "names 28 events, expected 5" in found
    assert "expected (60, 10, 6) (5 events of the config and background)" in found


@pytest.mark.parametrize("values", [np.float32(1), np.zeros((0, 10, 128), "f4"), h5py.Empty("f4"), np.zeros(60, "S4")])
@pytest.mark.parametrize("name", FILES)
def test_data_of_any_form_gives_findings_and_no_failure(root, name, values):
    write(root / name, values)
    report = look(root)
    assert report.of(ERROR)
    assert verdict(report, name) == "WRONG"


@pytest.fixture(scope="module")
def spoilt(data_root, tmp_path_factory):
    """A folder in which every example spoils one file."""
    return Path(shutil.copytree(data_root, tmp_path_factory.mktemp("spoilt") / "data"))


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    name=st.sampled_from([*FILES, ANNOTATIONS]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), max_size=4),  # place, bits
    share=st.one_of(st.just(1.0), st.floats(0, 1)),
    head=st.booleans(),
)
def test_any_damage_ends_in_a_report(spoilt, name, flips, share, head):
    """Changed bits, half of the time where HDF5 describes the data, and files that end early."""
    sound = (spoilt / name).read_bytes()
    contents = bytearray(sound[: round(share * len(sound))])
    for place, bits in flips:
        if reach := min(len(contents), 2048 if head else len(contents)):
            contents[min(int(place * reach), reach - 1)] ^= bits
    (spoilt / name).write_bytes(contents)
    try:
        report = look(spoilt, full=True)
    finally:
        (spoilt / name).write_bytes(sound)
    assert [line.file for line in report.lines] == [*FILES, ANNOTATIONS]
    assert all("\n" not in finding.sentence.strip() for finding in report.findings)


# Before training


def test_training_is_refused_with_every_error_of_its_setting_and_no_other(root):
    change(root / "val_order.h5", 2, 60)
    change(root / "audio_feature.h5", 0, np.nan)
    change(root / "labels_noisy.h5", 1, 0)
    for setting, count in (("supervised", 2), ("weakly", 3)):
        with pytest.raises(InputError) as error:
            require_valid_data(root, MAGANConfig(), setting)
        lines = str(error.value).splitlines()
        assert len([line for line in lines if line.startswith(str(root))]) == count
        assert len([line for line in lines if line.startswith("  ")]) == count


def test_training_is_told_the_warnings(root):
    assert require_valid_data(root, MAGANConfig(), "weakly") == []
    change(root / "audio_feature_noisy.h5", 0, -1)
    assert require_valid_data(root, MAGANConfig(), "supervised") == []
    (warning,) = require_valid_data(root, MAGANConfig(), "weakly")
    assert warning.startswith(f"{root / 'audio_feature_noisy.h5'}: 1 row of 3 sampled ones holds values outside")


# The published files, where the environment variable MAGAN_AVE_DATA names a folder that has them.


@pytest.mark.skipif("MAGAN_AVE_DATA" not in os.environ, reason="MAGAN_AVE_DATA names no folder with the files of AVE")
def test_published_files_are_sound_and_share_the_videos_that_are_known(tmp_path):
    for name in (*FILES, ANNOTATIONS):
        if (path := Path(os.environ["MAGAN_AVE_DATA"]) / name).is_file():
            shutil.copyfile(path, tmp_path / name)
    report = look(tmp_path)
    assert all(finding.sentence.endswith("is missing") for finding in report.of(ERROR))
    counts = [finding.sentence.split(": ")[1] for finding in report.of(NOTE)]
    assert counts == [
        "10 video ids stand in both train and val",
        "8 video ids stand in both train and test",
    ]
    exchange(tmp_path, "val_order.h5", "test_order.h5")
    assert "are exchanged, they are AVE's" in look(tmp_path).of(ERROR)[-1].sentence
