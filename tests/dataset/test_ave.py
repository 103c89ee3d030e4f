"""Features and labels are read from a folder as they lie on disk, and a folder that does not fit is refused by name."""

import itertools
import pickle

import h5py
import numpy as np
import pytest
import torch

from dataset import AVEFolder
from dataset.batches import Batches
from dataset.features import FeatureFile
from dataset.published import SOURCES
from engine.feeds import StreamFeed
from model import MAGANConfig
from utils.errors import InputError

NUM_VIDEOS, NUM_NOISY, T, K = 12, 3, 10, 3
TRAIN = [7, 2, 11, 0, 5, 9]
NAMES = ["Truck", "Violin, fiddle", "Bark"]
SUPERVISED = ["visual_feature.h5", "audio_feature.h5", "right_labels.h5", "train_order.h5"]
WEAKLY = [
    *("visual_feature.h5", "audio_feature.h5", "mil_labels.h5", "train_order.h5"),
    *("visual_feature_noisy.h5", "audio_feature_noisy.h5", "labels_noisy.h5"),
]


def small_data(dtype="f4"):
    """What a small folder holds, by file name; no two numbers of its features are equal."""
    random = np.random.default_rng(0)
    one_hot = np.eye(K + 1, dtype=np.float32)
    return {
        "visual_feature.h5": random.random((NUM_VIDEOS, T, 2, 2, 8)).astype(dtype),
        "audio_feature.h5": random.random((NUM_VIDEOS, T, 4)).astype(dtype),
        "right_labels.h5": one_hot[random.integers(K + 1, size=(NUM_VIDEOS, T))],
        "mil_labels.h5": one_hot[random.integers(K, size=NUM_VIDEOS)],
        "visual_feature_noisy.h5": random.random((NUM_NOISY, T, 2, 2, 8)).astype(dtype),
        "audio_feature_noisy.h5": random.random((NUM_NOISY, T, 4)).astype(dtype),
        "labels_noisy.h5": one_hot[[K] * NUM_NOISY],
        "train_order.h5": np.array(TRAIN),
        "val_order.h5": np.array([1, 8, 4]),
        "test_order.h5": np.array([10, 3, 6]),
    }


def write(path, values, key=None, **options):
    with h5py.File(path, "w") as file:
        file.create_dataset(key or ("order" if "order" in path.name else "avadataset"), data=values, **options)


def write_all(root, data):
    for name, values in data.items():
        write(root / name, values)


def folder(root, wide=torch.float32):
    return AVEFolder(root, MAGANConfig(num_events=K, visual_dim=8, audio_dim=4, num_heads=2), wide)


def training_set(root, name):
    """The training set that needs the file ``name``."""
    return folder(root).weakly_labelled() if name in WEAKLY else folder(root).split("train")


def write_with_damage(path, values, rows):
    """Write ``values`` so that each row can be read alone, and ``rows`` not at all: their checksum is wrong."""
    write(path, values, chunks=(1, *values.shape[1:]), fletcher32=True)
    with h5py.File(path) as file:
        data = file["avadataset"].id
        offsets = [data.get_chunk_info_by_coord((row,) + (0,) * (values.ndim - 1)).byte_offset for row in rows]
    contents = bytearray(path.read_bytes())
    for offset in offsets:
        contents[offset] ^= 1
    path.write_bytes(contents)


def refusal(action, *arguments):
    with pytest.raises(InputError) as error:
        action(*arguments)
    return str(error.value)


def assert_equal(batch, other):
    for name, value in batch._asdict().items():
        assert value.dtype == getattr(other, name).dtype, name
        assert torch.equal(value, getattr(other, name)), name


@pytest.fixture
def data():
    return small_data()


@pytest.fixture
def root(tmp_path, data):
    """A small folder, valid and complete."""
    write_all(tmp_path, data)
    return tmp_path


# What is read


@pytest.mark.parametrize("order", ["by class", "shuffled"])
@pytest.mark.parametrize("modality", ["visual", "audio"])
def test_mismatched_videos_have_one_modality_of_another_event(tmp_path, modality, order):
    """However the split is sorted, and whichever videos come one at a time or together."""
    data = small_data()
    events = np.repeat(range(K), NUM_VIDEOS // K)
    data["right_labels.h5"] = np.eye(K + 1, dtype=np.float32)[np.repeat(events[:, None], T, axis=1)]
    data["right_labels.h5"][:, 0] = np.eye(K + 1)[K]  # every event begins after a second of background
    rows = np.arange(NUM_VIDEOS)
    data["train_order.h5"] = np.random.default_rng(0).permutation(rows) if order == "shuffled" else rows
    write_all(tmp_path, data)
    split = folder(tmp_path).split("train")
    own, other = split.__getitems__(rows), split.mismatched(modality).__getitems__(rows)

    exchanged = getattr(other, modality)
    taken_from = [next(i for i in rows if torch.equal(getattr(own, modality)[i], features)) for features in exchanged]
    event = events[split.rows]
    assert (event[taken_from] != event).all()
    for place, partner in enumerate(taken_from):  # the next one that shows another event
        between = np.arange(place, place + (partner - place) % NUM_VIDEOS) % NUM_VIDEOS
        assert (event[between] == event[place]).all()
    for name in {"visual", "audio", "labels"} - {modality}:
        assert torch.equal(getattr(other, name), getattr(own, name))
    assert torch.equal(getattr(split.mismatched(modality)[3], modality), exchanged[3])
    assert_equal(split.__getitems__(rows), own)


def test_split_of_one_event_has_no_mismatched_videos(tmp_path, data):
    for event in (0, K):  # K: all of it is background
        data["right_labels.h5"][:] = np.eye(K + 1)[event]
        write_all(tmp_path, data)
        assert folder(tmp_path).split("train").mismatched("audio") is None
    data["right_labels.h5"][TRAIN[2], 4] = np.eye(K + 1)[1]  # a video with an event is another one
    write_all(tmp_path, data)
    assert folder(tmp_path).split("train").mismatched("audio") is not None


@pytest.mark.parametrize("wide", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f8"])
def test_values_are_those_on_disk_in_the_order_asked_for(tmp_path, dtype, wide):
    data = small_data(dtype)
    write_all(tmp_path, data)
    batch = folder(tmp_path, wide).split("train").__getitems__([4, 0, 4, 3, 1])
    rows = [5, 7, 5, 0, 2]
    expected_dtype = torch.float16 if dtype == "f2" else wide
    as_numpy = str(expected_dtype).removeprefix("torch.")
    for values, name in ((batch.visual, "visual_feature.h5"), (batch.audio, "audio_feature.h5")):
        assert values.dtype == expected_dtype
        np.testing.assert_array_equal(values.numpy(), data[name][rows].astype(as_numpy))
    assert batch.labels.dtype == torch.float32
    np.testing.assert_array_equal(batch.labels.numpy(), data["right_labels.h5"][rows])


@pytest.mark.parametrize(("name", "rows"), [("train", TRAIN), ("val", [1, 8, 4]), ("test", [10, 3, 6])])
def test_split_is_the_rows_of_its_order_file(root, data, name, rows):
    split = folder(root).split(name)
    assert len(split) == len(rows)
    assert split.rows.tolist() == rows
    for index, row in enumerate(rows):
        video = split[index]
        np.testing.assert_array_equal(video.visual.numpy(), data["visual_feature.h5"][row])
        np.testing.assert_array_equal(video.audio.numpy(), data["audio_feature.h5"][row])
        np.testing.assert_array_equal(video.labels.numpy(), data["right_labels.h5"][row])


def test_weakly_labelled_is_the_train_rows_then_the_noisy_rows_with_their_video_labels(root, data):
    dataset = folder(root).weakly_labelled()
    assert len(dataset) == len(TRAIN) + NUM_NOISY
    everything = dataset.__getitems__(range(len(dataset)))
    for name in ("visual_feature", "audio_feature"):
        expected = np.concatenate([data[f"{name}.h5"][TRAIN], data[f"{name}_noisy.h5"]])
        np.testing.assert_array_equal(getattr(everything, name.split("_")[0]).numpy(), expected)
    expected = np.concatenate([data["mil_labels.h5"][TRAIN], data["labels_noisy.h5"]])
    np.testing.assert_array_equal(everything.labels.numpy(), expected)
    assert dataset.rows.tolist() == [*TRAIN, 0, 1, 2]

    shuffled = [8, 3, 6, 0, 6]
    assert_equal(dataset.__getitems__(shuffled), type(everything)(*(values[shuffled] for values in everything)))


def test_float16_and_wide_features_in_one_set_become_wide(root, data):
    narrow = data["visual_feature.h5"].astype(np.float16)
    write(root / "visual_feature.h5", narrow)
    video = folder(root).weakly_labelled()[0]
    assert video.visual.dtype == torch.float32
    np.testing.assert_array_equal(video.visual.numpy(), narrow[TRAIN[0]].astype(np.float32))
    assert folder(root).split("train")[0].visual.dtype == torch.float16


def test_only_the_rows_asked_for_are_read(root, data):
    """Every other row is damaged, so that reading it fails."""
    for name in ("visual_feature.h5", "audio_feature.h5"):
        write_with_damage(root / name, data[name], [row for row in range(NUM_VIDEOS) if row not in (2, 9)])
    split = folder(root).split("train")
    batch = split.__getitems__([5, 1])
    np.testing.assert_array_equal(batch.visual.numpy(), data["visual_feature.h5"][[9, 2]])
    np.testing.assert_array_equal(batch.audio.numpy(), data["audio_feature.h5"][[9, 2]])
    said = refusal(split.__getitems__, [5, 2, 1])
    assert said.startswith(f"{root / 'visual_feature.h5'}: row 11 cannot be read")


def test_right_labels_win_over_labels_of_older_releases(root, data):
    write(root / "labels.h5", np.roll(data["right_labels.h5"], 1, axis=0))
    labels = folder(root).split("train").labels.numpy()
    np.testing.assert_array_equal(labels, data["right_labels.h5"][TRAIN])


def test_labels_of_older_releases_alone_serve(root, data):
    (root / "right_labels.h5").rename(root / "labels.h5")
    labels = folder(root).split("train").labels.numpy()
    np.testing.assert_array_equal(labels, data["right_labels.h5"][TRAIN])


def test_segment_with_several_events_keeps_the_one_with_the_largest_index(root, data):
    """As AVE's older labels.h5 has some."""
    labels = data["right_labels.h5"]
    labels[TRAIN[0]] = [[1, 1, 0, 0]] * 3 + [[1, 0, 1, 0]] * 3 + [[0, 1, 0, 0]] * 2 + [[0, 0, 0, 1]] * 2
    write(root / "right_labels.h5", labels)
    read = folder(root).split("train")[0].labels
    assert read.sum(dim=1).tolist() == [1] * 10
    assert read.argmax(dim=1).tolist() == [1, 1, 1, 2, 2, 2, 1, 1, 3, 3]


@pytest.mark.parametrize("dtype", ["f8", "i8", "u1", "?"])
def test_labels_may_be_any_kind_of_number(root, data, dtype):
    write(root / "right_labels.h5", data["right_labels.h5"].astype(dtype))
    labels = folder(root).split("train").labels
    assert labels.dtype == torch.float32
    np.testing.assert_array_equal(labels.numpy(), data["right_labels.h5"][TRAIN])


# Who reads it


@pytest.mark.parametrize("used", [False, True])
def test_pickled_dataset_reads_the_same(root, used):
    """It goes by pickle to processes that are not forked; an open file would not survive that."""
    dataset = folder(root).weakly_labelled()
    if used:
        dataset.__getitems__([0])
    copy = pickle.loads(pickle.dumps(dataset))
    assert_equal(copy.__getitems__([8, 0, 3]), dataset.__getitems__([8, 0, 3]))


def test_worker_processes_deliver_what_the_main_process_reads(root):
    """Two epochs, with the files open in the main process before the workers start, and read there in between."""
    dataset = folder(root).weakly_labelled()
    here, elsewhere = (StreamFeed(dataset, Batches(len(dataset), 2, seed=1), num_workers=n) for n in (0, 2))
    for number in range(2):
        for batch, other in itertools.zip_longest(here.epoch(number), elsewhere.epoch(number)):
            assert_equal(batch, other)


# What is refused


def test_missing_files_are_listed_in_one_message_with_their_sources_and_the_way_out(tmp_path):
    for needed, action in (
        (SUPERVISED, lambda: folder(tmp_path).split("train")),
        (WEAKLY[:4], folder(tmp_path).weakly_labelled),  # without noisy videos
    ):
        said = refusal(action)
        listed = [line.split(maxsplit=1) for line in said.splitlines() if line.startswith("  ") and ".h5" in line]
        assert sorted(listed) == sorted([name, SOURCES[name]] for name in needed)
        assert f"{len(needed)} data files are missing in {tmp_path}:" in said
        assert "python -m tools.make_data --out" in said


def test_folder_that_is_misspelt_is_said_not_to_exist(tmp_path):
    said = refusal(lambda: folder(tmp_path / "dta").split("train"))
    assert f" data files are missing in {tmp_path / 'dta'}, which does not exist:" in said


@pytest.mark.parametrize("name", WEAKLY)
def test_one_missing_file_is_listed_alone_with_advice_to_the_owner_of_the_data(root, name):
    (root / name).unlink()
    said = refusal(folder(root).weakly_labelled)
    assert said.startswith(f"1 data file is missing in {root}:\n  {name}  ")
    assert all(other not in said for other in WEAKLY if other != name)
    assert "download" not in said


def test_noisy_videos_may_be_absent_altogether(root, data):
    for name in ("visual_feature_noisy.h5", "audio_feature_noisy.h5", "labels_noisy.h5"):
        (root / name).unlink()
    dataset = folder(root).weakly_labelled()
    assert dataset.rows.tolist() == TRAIN
    np.testing.assert_array_equal(dataset.labels.numpy(), data["mil_labels.h5"][TRAIN])


def test_other_settings_files_are_not_needed(root):
    """Labels per segment stay out of weakly-supervised training, whose point is to do without them."""
    for name in {*SUPERVISED, *WEAKLY} - set(WEAKLY):
        (root / name).unlink()
    folder(root).weakly_labelled()
    write_all(root, small_data())
    for name in {*SUPERVISED, *WEAKLY} - set(SUPERVISED):
        (root / name).unlink()
    folder(root).split("train")


def half(contents):
    return contents[: len(contents) // 2]


def text(contents):
    return b"<html>quota exceeded</html>" * 100


def nothing(contents):
    return b""


def damaged_directory(contents):
    """The part of an HDF5 file that says which data sets it has."""
    assert b"HEAP" in contents
    return contents.replace(b"HEAP", b"PAEH")


@pytest.mark.parametrize("damage", [half, text, nothing, damaged_directory])
@pytest.mark.parametrize("name", [*WEAKLY, "right_labels.h5"])
def test_damaged_or_wrong_file_is_refused_by_name(root, name, damage):
    (root / name).write_bytes(damage((root / name).read_bytes()))
    said = refusal(training_set, root, name)
    assert said.startswith(f"{root / name}: ")


@pytest.mark.parametrize("name", [*WEAKLY, "right_labels.h5"])
def test_file_without_the_data_set_is_refused_with_what_it_has(root, data, name):
    write(root / name, data[name], key="something")
    said = refusal(training_set, root, name)
    key = "order" if "order" in name else "avadataset"
    assert said == f"{root / name}: has no data set '{key}', it has ['something']"


def test_group_in_place_of_the_data_set_is_refused(root):
    with h5py.File(root / "audio_feature.h5", "w") as file:
        file.create_group("avadataset")
    assert "its 'avadataset' is a group, expected a data set" in refusal(folder(root).split, "train")


@pytest.mark.parametrize("dtype", ["i4", "u1", "?", "c8", "S4"])
@pytest.mark.parametrize("name", ["visual_feature.h5", "audio_feature.h5"])
def test_features_that_are_no_floating_point_numbers_are_refused(root, data, name, dtype):
    write(root / name, data[name].astype(dtype))
    said = refusal(folder(root).split, "train")
    assert said.startswith(f"{root / name}: type ")
    assert "expected floating-point numbers" in said


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("visual_feature.h5", (12, 10, 2, 2, 4)),
        ("visual_feature.h5", (12, 10, 4, 8)),
        ("visual_feature.h5", (12, 10, 0, 2, 8)),
        ("visual_feature.h5", (0, 10, 2, 2, 8)),
        ("audio_feature.h5", (12, 10, 8)),
        ("audio_feature.h5", (12, 4)),
        ("audio_feature.h5", (12, 10, 1, 4)),
    ],
)
def test_features_of_wrong_width_or_number_of_axes_are_refused(root, name, shape):
    write(root / name, np.zeros(shape))
    ndim, width = (5, 8) if "visual" in name else (3, 4)
    said = refusal(folder(root).split, "train")
    assert said == f"{root / name}: shape {shape}, expected {ndim} axes, none empty, the last one {width} long"


@pytest.mark.parametrize(("shape", "told"), [((11, 10, 4), "11 of 10"), ((12, 9, 4), "12 of 9")])
def test_different_numbers_of_videos_or_segments_in_the_modalities_are_refused(root, shape, told):
    write(root / "audio_feature.h5", np.zeros(shape))
    said = refusal(folder(root).split, "train")
    assert all(part in said for part in ("visual_feature.h5 has 12 videos of 10 segments", f"audio_feature.h5 {told}"))


def test_noisy_videos_of_another_shape_are_refused(root):
    write(root / "visual_feature_noisy.h5", np.zeros((NUM_NOISY, T, 3, 3, 8)))
    said = refusal(folder(root).weakly_labelled)
    assert said.startswith(f"{root / 'visual_feature_noisy.h5'}: ")
    assert "(10, 3, 3, 8), expected (10, 2, 2, 8)" in said


@pytest.mark.parametrize("name", ["right_labels.h5", "mil_labels.h5", "labels_noisy.h5"])
def test_labels_of_another_number_of_events_are_refused_with_both_numbers(root, data, name):
    shape = data[name].shape
    wider = (*shape[:-1], 29)
    write(root / name, np.zeros(wider))
    said = refusal(training_set, root, name)
    assert said == f"{root / name}: shape {wider}, expected {shape} (3 events of the config and background)"


@pytest.mark.parametrize("shape", [(11, 10, 4), (12, 4), (12, 9, 4)])
def test_labels_of_another_number_of_videos_or_segments_are_refused(root, shape):
    write(root / "right_labels.h5", np.zeros(shape))
    said = refusal(folder(root).split, "train")
    assert said == f"{root / 'right_labels.h5'}: shape {shape}, expected (12, 10, 4)"


@pytest.mark.parametrize(
    "row",
    [[0.5, 0.5, 0, 0], [2, 0, 0, 0], [-1, 1, 1, 0], [np.nan, 1, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]],
    ids=["fractions", "two", "negative", "nan", "two classes", "no class"],
)
@pytest.mark.parametrize("name", ["right_labels.h5", "mil_labels.h5", "labels_noisy.h5"])
def test_labels_that_are_not_one_hot_are_refused(root, data, name, row):
    data[name][1 if name == "labels_noisy.h5" else TRAIN[0]] = row
    write(root / name, data[name])
    said = refusal(training_set, root, name)
    assert said.startswith(f"{root / name}: ")
    assert "one-hot" in said


def test_labels_that_are_no_numbers_are_refused(root, data):
    write(root / "right_labels.h5", data["right_labels.h5"].astype("S1"))
    assert "expected numbers" in refusal(folder(root).split, "train")


@pytest.mark.parametrize("order", [[0, 12], [-1, 3], [0, 2**40]])
def test_row_numbers_out_of_range_are_refused(root, order):
    write(root / "train_order.h5", np.array(order))
    said = refusal(folder(root).split, "train")
    assert said == f"{root / 'train_order.h5'}: row numbers from {order[0]} to {order[1]}, expected 0 to 11"


@pytest.mark.parametrize("order", [np.zeros(2), np.zeros((2, 1), int), np.zeros(0, int), np.int64(3)])
def test_order_that_is_no_list_of_row_numbers_is_refused(root, order):
    write(root / "train_order.h5", order)
    said = refusal(folder(root).split, "train")
    assert said.startswith(f"{root / 'train_order.h5'}: shape ")
    assert "expected a list of row numbers" in said


def test_feature_file_that_goes_missing_is_refused_by_name(root):
    path = root / "audio_feature.h5"
    file = pickle.loads(pickle.dumps(FeatureFile(path, ndim=3, width=4)))
    path.unlink()
    assert refusal(file.read, [0], np.empty((1, T, 4), "f4"), [0]).startswith(f"{path}: ")


# Class names


def test_class_names_are_those_of_the_annotations(root):
    lines = [f"{NAMES[row % K]}&video{row}&good&0&10\n" for row in range(NUM_VIDEOS)]
    (root / "Annotations.txt").write_text("".join(lines))
    assert folder(root).class_names() == NAMES


def test_events_are_numbered_where_there_are_no_annotations(root):
    assert folder(root).class_names() == ["event 0", "event 1", "event 2"]


def test_annotations_of_another_number_of_events_are_refused_with_both_numbers(root):
    (root / "Annotations.txt").write_text("Truck&a&good&0&10\nBark&b&good&0&10\n")
    said = refusal(folder(root).class_names)
    assert said.startswith(f"{root / 'Annotations.txt'}: names 2 events, expected 3")


def test_file_that_has_changed_since_it_was_checked_is_not_read(tmp_path):
    """HDF5 would cut its rows off, or write past the end of the memory for them."""
    path = tmp_path / "visual_feature.h5"
    write(path, np.ones((4, T, 2, 2, 8), "f4"))
    file = FeatureFile(path, ndim=5, width=8)
    out = np.zeros((1, T, 2, 2, 8), "f4")
    with pytest.raises(InputError, match=r"to be read as \(4, 10, 1, 2, 8\)"):
        file.read([0], out[:, :, :1], [0])
    file.close()
    write(path, np.ones((4, T, 3, 3, 8), "f4"))
    with pytest.raises(InputError, match=r"has shape \(4, 10, 3, 3, 8\), expected \(4, 10, 2, 2, 8\)"):
        file.read([0], out, [0])
    assert not out.any()
    file.close()
