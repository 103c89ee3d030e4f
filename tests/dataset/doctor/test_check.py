"""Damage to a data folder is found, and reported with the name of the file and a cure."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dataset import AVEFolder
from dataset.doctor import check_folder, orders, require_valid_data
from dataset.doctor.features import SAMPLED
from dataset.doctor.report import ERROR, NOTE, WARNING
from dataset.features import channels_are_first
from dataset.layout import ANNOTATIONS, EXTRACTION, FILES, NOISY, ORDERS
from dataset.size import AVE, size_of
from dataset.sources import make_labels_command
from model.network import NetworkConfig
from utils.errors import InputError
from utils.wording import command_line

BOTH = ("supervised", "weakly")


@pytest.fixture
def root(data_root, tmp_path):
    """A sound folder to spoil: 60 videos, 3 noisy ones."""
    return Path(shutil.copytree(data_root, tmp_path / "data"))


def look(root, **options):
    return check_folder(root, **options)


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


def only(report, level=ERROR):
    """The only finding of a level."""
    (finding,) = report.of(level)
    return finding


def test_sound_folder_has_no_finding_and_both_settings_can_run(root):
    for full in (False, True):
        report = look(root, full=full)
        assert report.findings == []
        assert all(map(report.can_run, BOTH))
        assert set(report.verdicts) == {*FILES, ANNOTATIONS}
        assert all(verdict.startswith("ok") for verdict in report.verdicts.values())


@pytest.mark.parametrize("name", FILES)
def test_missing_file_keeps_from_running_what_needs_it(root, name):
    (root / name).unlink()
    finding = only(look(root))
    assert finding.message == f"{root / name}: is missing"
    assert finding.settings == (("weakly",) if "noisy" in name or name == "mil_labels.h5" else BOTH)
    assert finding.cure
    assert "download" not in finding.cure  # it is not AVE


@pytest.mark.parametrize("name", [*FILES, ANNOTATIONS])
def test_directory_in_place_of_a_file_is_called_so(root, name):
    (root / name).unlink()
    (root / name).mkdir()
    finding = only(look(root), NOTE if name == ANNOTATIONS else ERROR)
    assert finding.message.startswith(f"{root / name}: is not a file")


def test_empty_folder_lacks_every_file(tmp_path):
    report = look(tmp_path)
    missing = [name for name in FILES if name not in NOISY]
    assert [finding.message for finding in report.of(ERROR)] == [f"{tmp_path / name}: is missing" for name in missing]
    cures = [finding.cure for finding in report.of(ERROR)]
    for name, cure in zip(missing, cures, strict=True):
        assert ("make_labels" if "labels" in name else command_line("download", "--data_root", tmp_path)) in cure
    assert command_line("download", "--data_root", tmp_path) in only(report, WARNING).cure  # for the noisy videos


def test_record_of_the_extraction_is_checked(root):
    record = {"preprocessing": "caffe", "precision": "fp32", "frames_per_second": 16, "segments": 10, "weights": "0"}
    path = root / EXTRACTION
    path.write_text(json.dumps(record))
    assert "extracted from videos by vgg19 (caffe) and vggish, 16 pictures a second" in only(look(root), NOTE).message
    for text, sentence in (
        (json.dumps({**record, "segments": 5}), "describes features of 5 segments, but the folder has features of 10"),
        (json.dumps({**record, "preprocessing": "none"}), "its preprocessing is 'none', expected torchvision or caffe"),
        ("{}", "is not a record of tools.extract_features: it names no preprocessing"),
        ("[" * 100_000, "is not a record of tools.extract_features"),
        ("damaged", "is not a record of tools.extract_features"),
    ):
        path.write_text(text)
        finding = only(look(root))
        assert finding.message.startswith(f"{path}: ")
        assert sentence in finding.message
        assert "move it away" in finding.cure


def test_noisy_videos_may_be_absent_altogether_but_not_in_part(root):
    for name in NOISY:
        (root / name).rename(root.parent / name)
    report = look(root)
    assert report.of(ERROR) == []
    warning = only(report, WARNING)
    assert warning.settings == ("weakly",)
    assert "has no noisy videos" in warning.message
    assert "never sees a whole video of background" in warning.message
    (root.parent / NOISY[1]).rename(root / NOISY[1])
    report = look(root)
    assert [f.message for f in report.of(ERROR)] == [f"{root / name}: is missing" for name in (NOISY[0], NOISY[2])]
    assert not report.can_run("weakly")
    assert report.can_run("supervised")


def test_missing_annotations_are_worth_a_note(root):
    (root / ANNOTATIONS).unlink()
    report = look(root)
    assert report.of(ERROR) == []
    assert "is missing, so the events are numbered" in only(report, NOTE).message


# Damaged files


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_called_so_with_both_sizes(root, name):
    contents = (root / name).read_bytes()
    (root / name).write_bytes(contents[:-100])
    assert only(look(root)).message == (
        f"{root / name}: cannot be read: it is truncated: {len(contents) - 100:,} bytes are there, "
        f"{len(contents):,} belong to it"
    )


def test_web_page_in_place_of_a_file_is_called_so(root):
    (root / "audio_feature.h5").write_text("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title>")
    assert "it is a web page, which a server may send" in only(look(root)).message


@pytest.mark.parametrize("name", FILES)
def test_missing_key_is_named_with_what_there_is(root, name):
    write(root / name, read(root / name), key="dataset")
    finding = only(look(root))
    assert finding.message == f"{root / name}: has no data set '{FILES[name].key}', it has ['dataset']"


@pytest.mark.parametrize("chunks", [None, (1, 10, 128)])
def test_file_that_was_never_written_to_the_end_is_called_incomplete(root, chunks):
    """What HDF5 leaves behind when the program that writes a file gives up: it reads as zeros."""
    with h5py.File(root / "audio_feature.h5", "w") as file:
        data = file.create_dataset("avadataset", (60, 10, 128), "f4", chunks=chunks)
        if chunks:
            data[:20] = 1
    stored = "60 chunks, 20" if chunks else "307,200 bytes, 0"
    assert only(look(root)).message.endswith(f"is incomplete: its shape (60, 10, 128) stands for {stored} were written")


def test_row_that_is_not_finite_is_named(root):
    change(root / "audio_feature.h5", (59, 3, 5), np.nan)
    assert only(look(root)).message == (
        f"{root / 'audio_feature.h5'}: values that are not finite in 1 row of {SAMPLED} sampled ones: 59"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_full_look_finds_every_row_that_is_not_finite(root, value):
    for row in (1, 17, 58):
        change(root / "visual_feature.h5", (row, 3, 1, 0, 5), value)
    assert only(look(root, full=True)).message == (
        f"{root / 'visual_feature.h5'}: values that are not finite in 3 rows: 1, 17, 58"
    )


def test_full_look_finds_rows_that_cannot_be_read(root):
    values = read(root / "audio_feature.h5")
    with h5py.File(root / "audio_feature.h5", "w") as file:
        data = file.create_dataset("avadataset", data=values, chunks=(1, 10, 128), fletcher32=True)
        offset = data.id.get_chunk_info_by_coord((21, 0, 0)).byte_offset
    contents = bytearray((root / "audio_feature.h5").read_bytes())
    contents[offset] ^= 1
    (root / "audio_feature.h5").write_bytes(contents)
    assert look(root).of(ERROR) == []
    assert (
        "audio_feature.h5: one of rows 0 to 59 cannot be read: the file is damaged"
        in only(look(root, full=True)).message
    )


@pytest.mark.parametrize(
    ("value", "what"), [(-3e4, "outside -10000 to 10000"), (3e4, "outside -10000 to 10000"), (0, "nothing but zeros")]
)
def test_odd_features_are_worth_a_warning(root, value, what):
    change(root / "visual_feature.h5", 0, value)
    report = look(root)
    assert all(map(report.can_run, BOTH))
    assert what in only(report, WARNING).message
    assert only(report, WARNING).message.endswith(": 0")


@pytest.mark.parametrize("name", ["right_labels.h5", "mil_labels.h5", "labels_noisy.h5"])
def test_labels_that_are_not_one_hot_are_found(root, name):
    change(root / name, 2, 0)
    assert "the labels of 1 rows are not one-hot (row 2 is the first)" in only(look(root)).message


def test_noisy_label_with_an_event_is_found(root):
    change(root / "labels_noisy.h5", 1, np.eye(29)[3])
    assert "1 row is labelled with an event, expected background throughout: 1" in only(look(root)).message


@pytest.mark.parametrize("full", [False, True])
def test_huge_values_are_worth_a_warning_and_subnormal_ones_are_features(root, full):
    values = read(root / "audio_feature.h5").astype("f4")
    values[0], values[59] = 1e30, np.float32(1e-45)
    write(root / "audio_feature.h5", values)
    report = look(root, full=full)
    assert only(report, WARNING).message.endswith(": 0")
    assert "outside -10000 to 10000" in only(report, WARNING).message
    assert all(map(report.can_run, BOTH))


# Files that are there and cannot be read, or are turned, with a config of one's own


def group_in_place_of_the_data_set(path):
    with h5py.File(path, "w") as file:
        file.create_group("avadataset")


def compressed_by_a_filter_that_is_not_installed(path):
    values = read(path)
    filters = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    filters.set_chunk((1, *values.shape[1:]))
    filters.set_filter(32004, h5py.h5z.FLAG_OPTIONAL, ())  # LZ4
    with h5py.File(path, "w") as file:
        space, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype)
        data = h5py.h5d.create(file.id, b"avadataset", kind, space, filters)
        for row, contents in enumerate(values):
            data.write_direct_chunk((row, *[0] * contents.ndim), contents.tobytes())


@pytest.fixture
def own(root):
    """A folder with features of other widths than AVE's, without annotations, and its config."""
    for name in ("visual_feature.h5", "visual_feature_noisy.h5"):
        write(root / name, read(root / name)[..., :16])
    (root / ANNOTATIONS).unlink()
    return root


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (group_in_place_of_the_data_set, "its 'avadataset' is a group, expected a data set"),
        (
            compressed_by_a_filter_that_is_not_installed,
            "is compressed with HDF5's filter 32004, which is not installed",
        ),
    ],
)
def test_what_cannot_be_read_is_compared_with_nothing(own, spoil, sentence):
    root = own
    spoil(root / "visual_feature.h5")
    for full in (False, True):
        assert sentence in only(check_folder(root, full=full)).message
    with pytest.raises(InputError, match=sentence):
        size_of(root)
    for name in ("audio_feature.h5", "right_labels.h5", "mil_labels.h5"):  # nothing tells the number of segments
        group_in_place_of_the_data_set(root / name)
    assert all(
        "cannot" in error.message or "a group" in error.message or sentence in error.message
        for error in check_folder(root).of(ERROR)
    )


@pytest.mark.parametrize("channels", [512, 32])
def test_maps_with_channels_first_are_called_so_and_nothing_else(root, channels):
    for name in ("visual_feature.h5", "visual_feature_noisy.h5"):
        maps = read(root / name)[..., :channels]
        write(root / name, np.moveaxis(np.tile(maps, (1, 1, 3, 3, 1)), -1, 2))
    errors = check_folder(root).of(ERROR)
    for name, error in zip(("visual_feature.h5", "visual_feature_noisy.h5"), errors, strict=True):
        assert error.message.startswith(f"{root / name}: shape ({len(read(root / name))}, 10, {channels}, 6, 6), its ")
        assert command_line("pack_features", "--data_root", root, "--out", f"{root}-channels-last") in error.message
        assert error.cure == ""
    with pytest.raises(InputError, match="its third axis is the channels"):
        AVEFolder(root, NetworkConfig(visual_dim=channels), torch.float32).split("test")


@pytest.mark.parametrize(
    "shape", [(7, 7, 512), (1, 1, 2048), (49, 1, 8), (14, 14, 8), (8, 4, 4), (3, 3, 16), (12, 7, 7)]
)
def test_maps_that_may_have_their_channels_last_are_taken_so(shape):
    assert not channels_are_first((60, 10, *shape), shape[-1])


# Orders


def test_split_without_any_event_is_worth_a_warning(root):
    (root / ANNOTATIONS).unlink()
    change(root / "right_labels.h5", read(root / "test_order.h5"), np.eye(29)[28])
    warning = only(look(root), WARNING)
    assert warning.message.startswith(f"{root / 'test_order.h5'}: all its videos are labelled background throughout")
    assert "make_labels" in warning.cure
    assert all(map(look(root).can_run, BOTH))


def test_splits_of_one_video_each_can_run(root):
    for row, name in enumerate(ORDERS):
        write(root / name, np.array([row]))
    report = look(root)
    assert all(map(report.can_run, BOTH))
    assert [report.verdicts[name] for name in ORDERS] == [f"ok, rows {row} to {row}" for row in range(3)]
    assert only(report, NOTE).message.startswith(f"{root}: 57 rows belong to no split")


def test_order_out_of_range_is_found(root):
    change(root / "val_order.h5", 2, 60)
    assert f"{root / 'val_order.h5'}: row numbers from" in only(look(root)).message
    assert "to 60, expected 0 to 59" in only(look(root)).message


def test_row_that_an_order_names_twice_is_found(root):
    first, second = read(root / "train_order.h5")[:2]
    change(root / "train_order.h5", 0, second)
    report = look(root)
    assert only(report).message == f"{root / 'train_order.h5'}: names 1 row more than once: {second}"
    assert only(report, NOTE).message == f"{root}: 1 row belongs to no split: {first}"
    assert f"{make_labels_command(root)} --overwrite --train_set FILE" in only(report, NOTE).cure


def test_splits_of_as_many_videos_as_in_ave_are_compared_with_its_own(root, monkeypatch):
    """A smaller AVE stands for the real one: as many videos as the folder, and other digests."""
    monkeypatch.setattr(orders, "AVE", AVE._replace(videos=60))
    assert "train_order.h5 and val_order.h5 and test_order.h5 are not AVE's own" in only(look(root), NOTE).message
    digests = [hashlib.sha256(read(root / name).tobytes()).hexdigest() for name in ORDERS]
    monkeypatch.setattr(orders, "ORDER_DIGESTS", dict(zip(ORDERS, digests, strict=True)))
    assert look(root).findings == []
    (root / "val_order.h5").rename(root / "aside")
    (root / "test_order.h5").rename(root / "val_order.h5")
    (root / "aside").rename(root / "test_order.h5")
    assert "val_order.h5 and test_order.h5 are not AVE's own" in only(look(root), NOTE).message


def test_row_that_two_splits_share_is_found(root):
    row = read(root / "train_order.h5")[5]
    write(root / "test_order.h5", np.append(read(root / "test_order.h5"), row))
    assert only(look(root)).message == (
        f"{root / 'train_order.h5'} and test_order.h5 share 1 row ({row}), expected none"
    )


def test_video_that_two_splits_share_under_other_events_is_information(root):
    lines = (root / ANNOTATIONS).read_text().splitlines()
    row, other = read(root / "train_order.h5")[0], read(root / "test_order.h5")[0]
    lines[other] = lines[other].replace(f"synthetic{other:05d}", f"synthetic{row:05d}")
    (root / ANNOTATIONS).write_text("\n".join(lines))
    report = look(root)
    assert report.of(ERROR) == []
    assert only(report, NOTE).message.endswith(
        f"1 video id is in both train_order.h5 and test_order.h5: synthetic{row:05d}"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("visual_feature.h5", "audio_feature.h5"),
        ("visual_feature.h5", "visual_feature_noisy.h5"),
        ("right_labels.h5", "mil_labels.h5"),
        ("mil_labels.h5", "labels_noisy.h5"),
        ("train_order.h5", "audio_feature.h5"),
    ],
)
def test_files_in_each_others_place_are_both_found(root, one, other):
    contents = [(root / name).read_bytes() for name in (other, one)]
    for name, content in zip((one, other), contents, strict=True):
        (root / name).write_bytes(content)
    found = " ".join(finding.message for finding in look(root).of(ERROR))
    assert f"{root / one}: " in found
    assert f"{root / other}: " in found


# Labels of another release


def test_label_that_the_annotations_contradict_is_named_by_its_row_and_in_words(root):
    labels = read(root / "right_labels.h5")
    lines = (root / ANNOTATIONS).read_text().splitlines()
    event, _, _, start, end = lines[7].split("&")
    for row in (7, 30):
        labels[row] = np.eye(29)[5]
    write(root / "right_labels.h5", labels)
    report = look(root)
    assert report.findings == [only(report, WARNING)]
    message = only(report, WARNING).message
    assert f"{root / 'right_labels.h5'}: differs from Annotations.txt in 2 of 60 rows (7, 30). Row 7" in message
    assert f"{int(end) - int(start)} x {event}" in message
    assert message.endswith("and labelled event 05. Training uses the labels as they are")
    assert f"{make_labels_command(root)} --overwrite" in only(report, WARNING).cure


def test_rows_with_two_events_of_the_older_release_are_a_warning_with_the_way_to_corrected_labels(root):
    labels = read(root / "right_labels.h5")
    for row in (7, 30):
        labels[row, 3:5, 11], labels[row, 3:5, -1] = 1, 0
    (root / "right_labels.h5").unlink()
    write(root / "labels.h5", labels)
    report = look(root)
    assert all(map(report.can_run, BOTH))
    (warning,) = report.findings
    assert f"{root / 'labels.h5'}: differs from Annotations.txt in 2 of 60 rows (7, 30)" in warning.message
    assert "event 07 + event 11" in warning.message
    assert warning.message.endswith("Of several events in a segment, the one with the largest index counts")
    assert warning.cure.endswith(make_labels_command(root))

    (root / ANNOTATIONS).unlink()
    warning = only(look(root), WARNING)
    assert f"{root / 'labels.h5'}: several events in a segment of 2 rows: 7, 30" in warning.message


@pytest.mark.parametrize("name", ["right_labels.h5", "mil_labels.h5"])
def test_labels_of_which_most_rows_differ_are_an_error(root, name):
    labels = read(root / name)
    labels[:35] = np.eye(29)[27]
    write(root / name, labels)
    finding = only(look(root))
    assert "of 60 rows (0, 1, 2" in finding.message
    assert finding.message.endswith("The two files do not belong together")


def test_labels_with_rows_in_another_order_are_an_error(root):
    labels = read(root / "mil_labels.h5")
    labels[[3, 4]] = labels[[4, 3]]
    write(root / "mil_labels.h5", labels)
    assert only(look(root)).message.endswith("has 2 rows in another order than Annotations.txt: 3, 4")
    write(root / "mil_labels.h5", np.random.default_rng(0).permutation(labels))
    assert "rows in another order than Annotations.txt" in only(look(root)).message


def test_video_label_that_the_annotations_contradict_is_named_by_its_row(root):
    change(root / "mil_labels.h5", 7, np.eye(29)[5])
    finding = only(look(root), WARNING)
    assert finding.settings == ("weakly",)
    assert "Row 7 is annotated event 07 and labelled event 05" in finding.message


def test_labels_with_events_in_another_order_are_told_from_wrong_ones(root):
    for name in ("right_labels.h5", "mil_labels.h5"):
        labels = read(root / name)
        write(root / name, np.concatenate([labels[..., 27::-1], labels[..., 28:]], axis=-1))
    found = [finding.message for finding in look(root).of(ERROR)]
    assert len(found) == 2
    assert all("has the columns of the events in another order" in sentence for sentence in found)


def test_two_exchanged_columns_are_told_from_wrong_rows(root):
    labels = read(root / "mil_labels.h5")
    write(root / "mil_labels.h5", labels[:, [1, 0, *range(2, 29)]])
    assert "has the columns of the events in another order" in only(look(root)).message


def test_annotations_of_another_number_of_videos_are_found(root):
    lines = (root / ANNOTATIONS).read_text().splitlines()
    (root / ANNOTATIONS).write_text("\n".join(lines[:-1]))
    assert "has 59 videos, expected 60 as in other files: it does not belong to them" in only(look(root)).message


def test_labels_of_another_number_of_videos_are_found(root):
    write(root / "right_labels.h5", read(root / "right_labels.h5")[:50])
    assert "shape (50, 10, 29), expected (60, 10, 29)" in only(look(root)).message


@pytest.mark.parametrize(
    ("line", "said"), [("Truck, a, good", "line 1"), ("event 00&a&good&3&12", "line 1: the event")]
)
def test_bad_annotation_line_is_found(root, line, said):
    lines = (root / ANNOTATIONS).read_text().splitlines()
    (root / ANNOTATIONS).write_text("\n".join([line, *lines[1:]]))
    assert said in only(look(root)).message


def test_old_label_file_beside_the_right_one_is_worth_a_note(root):
    shutil.copyfile(root / "mil_labels.h5", root / "labels.h5")
    assert only(look(root), NOTE).message == f"{root / 'labels.h5'}: is not read, right_labels.h5 wins"


@pytest.mark.parametrize("values", [np.float32(1), np.zeros((0, 10, 128), "f4"), h5py.Empty("f4"), np.zeros(60, "S4")])
@pytest.mark.parametrize("name", FILES)
def test_data_of_any_form_gives_findings_and_no_failure(root, name, values):
    write(root / name, values)
    report = look(root)
    assert report.of(ERROR)
    assert report.verdicts[name] == "WRONG"


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
    assert set(report.verdicts) == {*FILES, ANNOTATIONS}
    assert all("\n" not in finding.message.strip() for finding in report.findings)


# Before training


def test_training_is_refused_with_every_error_of_its_setting_and_no_other(root):
    change(root / "val_order.h5", 2, 60)
    change(root / "audio_feature.h5", 0, np.nan)
    change(root / "labels_noisy.h5", 1, 0)
    for setting, count in (("supervised", 2), ("weakly", 3)):
        with pytest.raises(InputError) as error:
            require_valid_data(root, setting)
        lines = str(error.value).splitlines()
        assert len([line for line in lines if line.startswith(str(root))]) == count
        assert len([line for line in lines if line.startswith("  ")]) == count


def test_training_is_told_the_warnings(root):
    assert require_valid_data(root, "weakly") == []
    change(root / "audio_feature_noisy.h5", 0, -3e4)
    assert require_valid_data(root, "supervised") == []
    (warning,) = require_valid_data(root, "weakly")
    assert warning.startswith(f"{root / 'audio_feature_noisy.h5'}: values outside -10000 to 10000")


# The published files, where the environment variable MAGAN_AVE_DATA names a folder that has them.


@pytest.mark.skipif("MAGAN_AVE_DATA" not in os.environ, reason="MAGAN_AVE_DATA names no folder with the files of AVE")
def test_published_files_are_sound_and_share_the_videos_that_are_known(tmp_path):
    for name in (*FILES, ANNOTATIONS):
        if (path := Path(os.environ["MAGAN_AVE_DATA"]) / name).is_file():
            shutil.copyfile(path, tmp_path / name)
    report = look(tmp_path)
    assert all(finding.message.endswith("is missing") for finding in report.of(ERROR))
    assert [finding.message.split(": ")[1] for finding in report.of(NOTE)] == [
        "10 video ids are in both train_order.h5 and val_order.h5",
        "8 video ids are in both train_order.h5 and test_order.h5",
    ]
