"""Damaged and hostile files are refused in a sentence, or read as what they say; nothing crashes, hangs or runs.

The cases are the same in every run. ``MAGAN_TEST_EXAMPLES=50 pytest tests/test_hostile_input.py`` tries fifty times as
many, other ones each time.
"""

import copy
import io
import json
import os
import pickle
import random
import signal
import string
import zipfile
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from configs import Config, TrainingConfig, load_config
from dataset import AVEFolder
from dataset.annotations import class_names, read_annotations, segment_labels, video_labels
from dataset.batches import Batches
from engine.checkpoint import save_checkpoint
from engine.device.distributed import Ranks
from engine.experiment import require_memory_for
from engine.feeds import make_feed
from engine.run_folder import RunFolder
from engine.training import Feeds, Interrupted, Trainer
from model import MAGANConfig, SupervisedMAGAN
from model.checkpoint import load_checkpoint
from model.published import PREFIX, published_parts
from tests.conftest import SCRIPTS
from tests.engine.test_checkpoint import Code
from tests.processes import ROOT
from utils.errors import InputError

TIMES = int(os.environ.get("MAGAN_TEST_EXAMPLES", "1"))

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**18, -(10**18), 2**31, 2**63, 10**400, 0, -1, 1e-320, 1e308])
    | st.floats()
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
MAIN = json.loads((ROOT / "configs" / "main.json").read_text())
PLACES = [(section, name) for section in MAIN for name in MAIN[section]]


def many(examples):
    """How many cases a property is tried on."""
    return settings(max_examples=examples * TIMES, derandomize=TIMES == 1, deadline=None, database=None)


def accepted(action, path, *arguments):
    """What ``action`` gives, or None where it refuses the file; anything else that it raises is a failure."""
    try:
        return action(path, *arguments)
    except InputError as error:
        said = str(error)
        assert said.startswith(str(path))
        assert len(said) < 2000
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("hostile")


# Config files


def try_config(path):
    config = accepted(load_config, path)
    if config is None:
        return
    assert json.loads(json.dumps(config.as_dict())) == config.as_dict()  # what a checkpoint keeps of it
    try:
        require_memory_for(SupervisedMAGAN, config, evaluates=False)
    except InputError:
        return
    SupervisedMAGAN(config.model)


@many(200)
@given(contents=st.binary())
def test_any_bytes_as_a_config(folder, contents):
    (folder / "config.json").write_bytes(contents)
    try_config(folder / "config.json")


@many(100)
@given(contents=JSON)
def test_any_json_as_a_config(folder, contents):
    (folder / "config.json").write_text(json.dumps(contents))
    try_config(folder / "config.json")


@many(300)
@given(values=st.dictionaries(st.sampled_from(PLACES), JSON, min_size=1, max_size=3), more=JSON, add=st.booleans())
@example(values={("model", "d_model"): 2**31 - 4}, more=None, add=False)
@example(values={("model", "d_model"): 2**20}, more=None, add=False)
@example(values={("model", "encoder_hidden"): 2**31 - 1}, more=None, add=False)
@example(values={("model", "num_events"): 2**31 - 1}, more=None, add=False)
@example(values={("training", "lr"): 10**400}, more=None, add=False)
@example(values={("training", "lr_milestones"): [10**400]}, more=None, add=False)
def test_any_values_in_a_config(folder, values, more, add):
    config = copy.deepcopy(MAIN)
    for (section, name), value in values.items():
        config[section][name] = value
    if add:
        config["model" if more else "training"]["more"] = more
    (folder / "config.json").write_text(json.dumps(config))
    try_config(folder / "config.json")


@many(30)
@given(depth=st.integers(1, 200_000), opening=st.sampled_from(["[", '{"a":', '{"model":', '{"model":{"d_model":[']))
@example(depth=900, opening="[")
@example(depth=990, opening='{"model":')
def test_any_depth_of_a_config(folder, depth, opening):
    closing = "".join({"[": "]", "{": "}"}[bracket] for bracket in reversed(opening) if bracket in "[{")
    for text in (opening * depth, opening * depth + "1" + closing * depth):
        (folder / "config.json").write_text(text)
        assert accepted(load_config, folder / "config.json") is None


@many(30)
@given(digits=st.integers(1, 100_000), place=st.sampled_from(PLACES))
def test_any_number_of_digits_in_a_config(folder, digits, place):
    config = copy.deepcopy(MAIN)
    config[place[0]][place[1]] = "HERE"
    (folder / "config.json").write_text(json.dumps(config).replace('"HERE"', "9" * digits))
    try_config(folder / "config.json")


# Annotations


def try_annotations(path):
    annotations = accepted(read_annotations, path, 10)
    accepted(read_annotations, path)
    if annotations is not None:
        events = len(class_names(annotations))
        assert segment_labels(annotations).sum() == 10 * len(annotations)
        assert video_labels(annotations).shape == (len(annotations), events + 1)


@many(300)
@given(contents=st.binary() | st.text().map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_annotations(folder, contents):
    (folder / "Annotations.txt").write_bytes(contents)
    try_annotations(folder / "Annotations.txt")


FIELD = st.text(max_size=20) | st.sampled_from(["Truck", "good", "", "0", "10", "Category"])
TIME = st.integers(-1, 12).map(str) | st.integers().map(str) | st.text(string.digits + " ²٣", max_size=5)


@many(300)
@given(lines=st.lists(st.tuples(FIELD, FIELD, FIELD, TIME, TIME).map("&".join) | FIELD, max_size=5))
@example(lines=[f"Truck&id&good&0&{'9' * 10_000}"])
@example(lines=[f"Truck&id&good&0&10{'&' * 100_000}"])
@example(lines=["Truck&" * 100_000])
def test_any_lines_as_annotations(folder, lines):
    (folder / "Annotations.txt").write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try_annotations(folder / "Annotations.txt")


# HDF5 files

N, T, K, VISUAL, AUDIO = 6, 10, 3, 8, 4
ONE_HOT = np.eye(K + 1, dtype=np.float32)
GOOD = {
    "visual_feature.h5": np.ones((N, T, 2, 2, VISUAL), np.float32),
    "audio_feature.h5": np.ones((N, T, AUDIO), np.float64),
    "right_labels.h5": ONE_HOT[np.arange(N * T).reshape(N, T) % K],
    "mil_labels.h5": ONE_HOT[np.arange(N) % K],
    "visual_feature_noisy.h5": np.ones((2, T, 2, 2, VISUAL), np.float16),
    "audio_feature_noisy.h5": np.ones((2, T, AUDIO), np.float16),
    "labels_noisy.h5": ONE_HOT[[K, K]],
    "train_order.h5": np.array([0, 2, 4, 5]),
    "val_order.h5": np.array([1]),
    "test_order.h5": np.array([3]),
}
SOME_FILE = st.sampled_from(sorted(GOOD))


def key_of(name):
    return "order" if "order" in name else "avadataset"


def write_good(root, **options):
    root.mkdir()
    for name, values in GOOD.items():
        with h5py.File(root / name, "w") as file:
            file.create_dataset(key_of(name), data=values, **options)
    return {name: (root / name).read_bytes() for name in GOOD}


@pytest.fixture(scope="module")
def plain(folder):
    """A small folder of data, and the bytes of its files."""
    return folder / "plain", write_good(folder / "plain")


@pytest.fixture(scope="module")
def compressed(folder):
    """The same in compressed chunks with checksums."""
    return folder / "compressed", write_good(folder / "compressed", chunks=True, compression="gzip", fletcher32=True)


def try_data(root):
    """Read everything as both settings do; whatever is accepted has the shapes that it says."""
    data = AVEFolder(root, MAGANConfig(num_events=K, visual_dim=VISUAL, audio_dim=AUDIO), torch.float32)
    for read in (data.weakly_labelled, *(lambda split=split: data.split(split) for split in ("train", "val", "test"))):
        try:
            dataset = read()
            for start in range(0, len(dataset), 100):
                batch = dataset.__getitems__(range(start, min(start + 100, len(dataset))))
                assert batch.visual.shape[0] == batch.audio.shape[0] == batch.labels.shape[0]
        except InputError as error:
            said = str(error)
        else:
            continue
        assert str(root) in said
        assert len(said) < 2000


def try_file(folder, name, contents):
    """Try the data with other contents of one file."""
    root, good = folder
    (root / name).write_bytes(contents)
    try:
        try_data(root)
    finally:
        (root / name).write_bytes(good[name])


FOLDER = st.sampled_from(["plain", "compressed"])
FLIPS = st.lists(st.tuples(st.floats(0, 1), st.integers(1, 255)), min_size=1, max_size=4)  # place, bits


@many(100)
@given(kind=FOLDER, name=SOME_FILE, share=st.floats(0, 1))
def test_truncated_hdf5(request, kind, name, share):
    folder = request.getfixturevalue(kind)
    contents = folder[1][name]
    try_file(folder, name, contents[: int(share * len(contents))])


@many(150)
@given(kind=FOLDER, name=SOME_FILE, flips=FLIPS)
def test_changed_bits_in_hdf5(request, kind, name, flips):
    folder = request.getfixturevalue(kind)
    contents = bytearray(folder[1][name])
    for where, bits in flips:
        contents[min(int(where * len(contents)), len(contents) - 1)] ^= bits
    try_file(folder, name, bytes(contents))


@many(100)
@given(name=SOME_FILE, contents=st.binary() | st.binary().map(lambda rest: b"\x89HDF\r\n\x1a\n" + rest))
def test_any_bytes_as_hdf5(plain, name, contents):
    try_file(plain, name, contents)


COMPOUND = np.dtype([("a", "f4"), ("b", "i8")])
DTYPES = [
    *("f2", "f4", "f8", "g", "i1", "i8", "u8", "?", "c8", "S4", COMPOUND, np.dtype(("f4", (3,))), np.dtype("V7")),
    *(h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype, h5py.regionref_dtype, h5py.enum_dtype({"a": 1})),
]
SIZES = st.integers(0, 12) | st.sampled_from([N, T, VISUAL, AUDIO, K + 1, 10**6, 10**9, 10**12, 2**40, 2**62])


@st.composite
def declared_shapes(draw):
    shape = list(draw(st.sampled_from([values.shape for values in GOOD.values()]) | st.lists(SIZES, max_size=6)))
    if shape and draw(st.booleans()):
        shape[draw(st.integers(0, len(shape) - 1))] = draw(SIZES)
    return tuple(shape)


@many(150)
@given(
    name=SOME_FILE,
    shape=declared_shapes(),
    dtype=st.sampled_from(DTYPES),
    chunked=st.booleans(),
    fill=st.booleans(),
    expected=st.booleans(),
)
@example("visual_feature.h5", (10**12, 10, 7, 7, VISUAL), "f4", True, False, False)
@example("right_labels.h5", (10**9, 10, 4), "f4", True, False, False)
@example("train_order.h5", (10**9,), "i8", True, False, False)
@example("train_order.h5", (10**9,), "i8", False, False, False)
def test_any_shape_and_type_in_hdf5(plain, name, shape, dtype, chunked, fill, expected):
    """Declared, and written where it is small: what was declared alone takes no room on the disk."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        try:
            chunks = tuple(max(1, min(size, 4)) for size in shape) if chunked and shape else None
            data = file.create_dataset(key_of(name), GOOD[name].shape if expected else shape, dtype, chunks=chunks)
            if fill and data.size < 10**5 and data.dtype.kind in "fiub":
                data[...] = 1
        except (ValueError, TypeError, RuntimeError, OSError, OverflowError):
            return  # HDF5 itself does not make such a file
    try_file(plain, name, buffer.getvalue())


def huge_features(root):
    """Both modalities and the labels agree on a size that nobody has."""
    for name, values in GOOD.items():
        if "noisy" not in name and "order" not in name:
            with h5py.File(root / name, "w") as file:
                file.create_dataset("avadataset", (10**8, *values.shape[1:]), values.dtype, chunks=values.shape)


def null_space(file, key):
    file[key] = h5py.Empty("f4")


def group(file, key):
    file.create_group(key)


def soft_link(file, key):
    file["elsewhere"] = GOOD["audio_feature.h5"]
    file[key] = h5py.SoftLink("/elsewhere")


def dangling_link(file, key):
    file[key] = h5py.SoftLink("/nowhere")


def circular_link(file, key):
    file[key] = h5py.SoftLink(f"/{key}")


def external_link(file, key):
    file[key] = h5py.ExternalLink("audio_feature_noisy.h5", "avadataset")


def dangling_external_link(file, key):
    file[key] = h5py.ExternalLink("nowhere.h5", "avadataset")


def circular_external_link(file, key):
    file[key] = h5py.ExternalLink("visual_feature.h5", key)


def external_storage(file, key):
    file.create_dataset(key, (N, T, AUDIO), "f4", external=[("nowhere.raw", 0, N * T * AUDIO * 4)])


def virtual(file, key):
    layout = h5py.VirtualLayout(shape=(N, T, AUDIO), dtype="f4")
    layout[:] = h5py.VirtualSource("nowhere.h5", "avadataset", shape=(N, T, AUDIO))
    file.create_virtual_dataset(key, layout)


def committed_type(file, key):
    file[key] = np.dtype("f4")


def scalar(file, key):
    file[key] = 1.0


@pytest.mark.parametrize(
    "make",
    [
        *(null_space, group, soft_link, dangling_link, circular_link, external_link, dangling_external_link),
        *(circular_external_link, external_storage, virtual, committed_type, scalar),
    ],
)
@pytest.mark.parametrize("name", sorted(GOOD))
def test_anything_else_under_the_key_of_a_data_set(plain, name, make):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        make(file, key_of(name))
    try_file(plain, name, buffer.getvalue())


def test_features_that_were_declared_and_never_written_are_refused(folder):
    """Both modalities and the labels agree on a size that nobody has, in files of a few kilobytes."""
    root = folder / "huge"
    write_good(root)
    huge_features(root)
    assert sum(path.stat().st_size for path in root.iterdir()) < 10**6
    data = AVEFolder(root, MAGANConfig(num_events=K, visual_dim=VISUAL, audio_dim=AUDIO), torch.float32)
    for read in (data.weakly_labelled, lambda: data.split("train")):
        with pytest.raises(InputError, match=r"is incomplete: its shape .* were written"):
            read()


@pytest.mark.parametrize("name", sorted(GOOD))
def test_any_other_file_of_the_folder_in_place_of_one(plain, name):
    for other in sorted(GOOD):
        try_file(plain, name, plain[1][other])


# Checkpoints

TINY = MAGANConfig(
    visual_dim=VISUAL, audio_dim=AUDIO, d_model=4, num_heads=2, num_events=K, encoder_hidden=4, decoder_hidden=4
)
NAMES = ["Truck", "Bark", "Violin, fiddle"]


CONFIG = Config(TINY, TrainingConfig(batch_size=2, n_epoch=1, print_freq=1))
CPU = torch.device("cpu")


def trainer_of(model, root, run=None):
    """A run of one epoch of two batches on a small folder of data."""
    data = AVEFolder(root, MAGANConfig(num_events=K, visual_dim=VISUAL, audio_dim=AUDIO), torch.float32)
    datasets = [data.split(split) for split in ("train", "val", "test")]
    feeds = Feeds(*(make_feed("stream", dataset, Batches(len(dataset), 2), 0, CPU) for dataset in datasets))
    return Trainer(model, CONFIG, feeds, run, NAMES, CPU, 1000, Ranks(), cuda_graph=False)


@pytest.fixture(scope="module")
def saved(folder, plain):
    """The bytes of the checkpoint that a run leaves when it is stopped after its first batch."""
    run = RunFolder(folder / "run")
    run.claim(overwrite=False)
    run.start({})
    trainer = trainer_of(SupervisedMAGAN(TINY), plain[0], run)
    trainer.signal = signal.SIGTERM
    with pytest.raises(Interrupted):
        trainer.train()
    run.close()
    return run.last.read_bytes()


@pytest.fixture(scope="module")
def contents(saved):
    """What is in it."""
    return torch.load(io.BytesIO(saved), weights_only=True)


@pytest.fixture(scope="module")
def attempt(plain):
    """Whether a file is accepted: as a checkpoint, into a network, and as the place where a run goes on to its end."""
    model = SupervisedMAGAN(TINY)

    def try_checkpoint(path):
        checkpoint = accepted(load_checkpoint, path)
        if checkpoint is None:
            return False
        try:
            checkpoint.load_into(model)
            if checkpoint.training:
                trainer = trainer_of(model, plain[0])
                trainer.restore(checkpoint.training)
                trainer.train()
        except InputError:
            return False
        return True

    return try_checkpoint


def test_undamaged_checkpoint_is_accepted(folder, saved, attempt):
    (folder / "last.pth.tar").write_bytes(saved)
    assert attempt(folder / "last.pth.tar")


@pytest.mark.slow
@many(150)
@given(where=st.floats(0, 1), bit=st.integers(0, 7))
def test_any_changed_bit_of_our_checkpoint_is_refused(folder, saved, where, bit):
    damaged = bytearray(saved)
    damaged[min(int(where * len(saved)), len(saved) - 1)] ^= 1 << bit
    (folder / "damaged.pth.tar").write_bytes(damaged)
    assert accepted(load_checkpoint, folder / "damaged.pth.tar") is None


def test_changed_bit_of_any_byte_of_its_checksum_and_of_its_beginning_is_refused(folder, saved):
    for place in [*range(64), *range(-120, 0)]:
        for bit in (0, 7):
            damaged = bytearray(saved)
            damaged[place] ^= 1 << bit
            (folder / "damaged.pth.tar").write_bytes(damaged)
            assert accepted(load_checkpoint, folder / "damaged.pth.tar") is None


@many(40)
@given(share=st.floats(0, 1, exclude_max=True), more=st.binary(max_size=100))
@example(share=0.0, more=b"")
def test_any_truncation_of_our_checkpoint_is_refused(folder, saved, share, more):
    (folder / "damaged.pth.tar").write_bytes(saved[: int(share * len(saved))] + more)
    assert accepted(load_checkpoint, folder / "damaged.pth.tar") is None


@many(10)
@given(more=st.binary(min_size=1, max_size=100))
def test_anything_behind_our_checkpoint_is_refused(folder, saved, more):
    (folder / "damaged.pth.tar").write_bytes(saved + more)
    assert accepted(load_checkpoint, folder / "damaged.pth.tar") is None


TENSORS = st.sampled_from(
    [
        *(torch.zeros(shape, dtype=dtype) for shape in ((), (4,), (2, 3)) for dtype in (torch.float32, torch.int64)),
        *(torch.zeros(1).expand(10**12), torch.zeros(4, dtype=torch.complex64), torch.full((4,), float("nan"))),
        *(torch.zeros(2, 2).to_sparse(), torch.zeros(2, device="meta"), torch.zeros(3, dtype=torch.bool)),
        *(torch.zeros(2, dtype=torch.float8_e4m3fn), torch.zeros(0), torch.nn.Parameter(torch.zeros(4))),
    ]
)
NAME = st.text(max_size=5) | st.sampled_from(["format", "weights", "config", "training", f"{PREFIX}v_fc.weight"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | TENSORS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(NAME | st.integers() | st.none(), inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=8,
)


@many(200)
@given(values=VALUES, writer=st.sampled_from(["torch", "old torch", "ours", "pickle"]))
@example(values={"format": "magan"}, writer="ours")
@example(values={"format": torch.zeros(3)}, writer="ours")
@example(values={"format": "magan", "version": torch.zeros(3)}, writer="ours")
def test_any_values_as_a_checkpoint(folder, attempt, values, writer):
    path = folder / "values.pth.tar"
    if writer == "ours":
        save_checkpoint(path, values)
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(values))
    else:
        torch.save(values, path, _use_new_zipfile_serialization=writer == "torch")
    assert not attempt(path)


def places_in(values, *place):
    """The ways to all values within values."""
    yield place
    if isinstance(values, (dict, list)):
        for name, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from places_in(value, *place, name)


REMOVED = "removed"


def with_value(contents, place, value):
    """A copy with another value at a place, or without it."""
    if not place:
        return value
    copied = copy.copy(contents)
    name, *rest = place
    if not rest and isinstance(value, str) and value == REMOVED:
        del copied[name]
    else:
        copied[name] = with_value(contents[name], rest, value)
    return copied


@many(60)
@given(where=st.floats(0, 1, exclude_max=True), value=VALUES | st.just(REMOVED))
@example(where=0.0, value=REMOVED)
def test_any_value_in_place_of_one_of_our_checkpoint(folder, contents, attempt, where, value):
    """With a right checksum, so the values themselves have to be looked at."""
    places = [place for place in places_in(contents) if place]
    few = [place for place in places if place[0] != "weights" and place[:2] != ("training", "optimizer")]
    places += 10 * few  # as likely as the many tensors
    changed = with_value(contents, places[int(where * len(places))], value)
    save_checkpoint(folder / "values.pth.tar", changed)
    attempt(folder / "values.pth.tar")


PARTS = ["version", "setting", "config", "class_names", "scores", "weights", "training"]
PARTS_OF_TRAINING = ["optimizer", "schedule", "state", "random"]


@pytest.mark.parametrize("place", [*((name,) for name in PARTS), *(("training", name) for name in PARTS_OF_TRAINING)])
def test_no_part_of_our_checkpoint_can_be_left_out_or_be_something_else(folder, contents, attempt, place):
    for value in (REMOVED, None, "text", {1: 2}, torch.zeros(3)):
        save_checkpoint(folder / "values.pth.tar", with_value(contents, place, value))
        may_be = [("scores", "{1: 2}"), ("training", "'removed'")]
        assert attempt(folder / "values.pth.tar") == ((place[-1], repr(value)) in may_be)


@pytest.mark.parametrize("change", [Tensor.to_sparse, Tensor.int, Tensor.bool, Tensor.tolist])
def test_weight_that_is_no_dense_tensor_of_floats_is_refused_by_name(folder, contents, change):
    name, weight = next(iter(contents["weights"].items()))
    save_checkpoint(folder / "values.pth.tar", with_value(contents, ("weights", name), change(weight)))
    with pytest.raises(InputError, match=f"{name!r} in it is not a tensor of floating-point numbers"):
        load_checkpoint(folder / "values.pth.tar")


class Published(NamedTuple):
    """A file in the authors' format."""

    data: bytes
    contents: dict
    kind: str

    def __repr__(self):
        return self.kind


@pytest.fixture(scope="module", params=["archive", "before 1.6"])
def published(request, folder):
    """A file in the authors' format, of a tiny network, as either kind of ``torch.save`` writes it."""
    model = SupervisedMAGAN(TINY)
    state = model.state_dict()
    contents = {PREFIX + key: state[part.key][part.rows].double() for key, part in published_parts(model).items()}
    path = folder / "published.pth.tar"
    torch.save(contents, path, _use_new_zipfile_serialization=request.param == "archive")
    checkpoint = load_checkpoint(path)
    assert checkpoint.published
    checkpoint.load_into(SupervisedMAGAN(TINY))
    return Published(path.read_bytes(), contents, request.param)


@many(75)
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated_published_checkpoint_is_refused(folder, attempt, published, share):
    (folder / "damaged.pth.tar").write_bytes(published.data[: int(share * len(published.data))])
    assert not attempt(folder / "damaged.pth.tar")


@many(75)
@given(where=st.floats(0, 1), bits=st.integers(1, 255))
def test_changed_published_checkpoint_is_refused_or_has_the_same_weights(folder, attempt, published, where, bits):
    """Archives have checksums of their own; the older format has none, so there a changed weight may be accepted."""
    data, contents, kind = published
    damaged = bytearray(data)
    damaged[min(int(where * len(data)), len(data) - 1)] ^= bits
    (folder / "damaged.pth.tar").write_bytes(damaged)
    if attempt(folder / "damaged.pth.tar") and kind == "archive":
        weights = load_checkpoint(folder / "damaged.pth.tar").weights
        assert all(torch.equal(weights[name], contents[name]) for name in contents)


@many(50)
@given(name=st.floats(0, 1, exclude_max=True), value=VALUES | st.just(REMOVED))
def test_any_value_in_place_of_a_published_one_is_refused(folder, attempt, published, name, value):
    changed = dict(published.contents)
    key = list(changed)[int(name * len(changed))]
    if value is REMOVED:
        del changed[key]
    else:
        changed[key] = value
    torch.save(changed, folder / "values.pth.tar")
    fits = (
        isinstance(value, torch.Tensor)
        and value.dtype.is_floating_point
        and value.shape == published.contents[key].shape
    )
    if not fits:
        assert not attempt(folder / "values.pth.tar")


def rewritten(data, compression=zipfile.ZIP_STORED, change=lambda name, record: record):
    """The archive of a checkpoint once more, with other records."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", compression) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
    return out.getvalue()


def test_compressed_archive_is_refused_before_it_is_unpacked(folder):
    buffer = io.BytesIO()
    torch.save({"weights": torch.zeros(10**7)}, buffer)
    bomb = rewritten(buffer.getvalue(), zipfile.ZIP_DEFLATED)
    assert len(bomb) < 10**5
    (folder / "bomb.pth.tar").write_bytes(bomb)
    with pytest.raises(InputError, match="its archive is compressed"):
        load_checkpoint(folder / "bomb.pth.tar")


@many(60)
@given(numbers=st.integers(-(2**62), 2**62) | st.sampled_from([0, 1, 10**9, 2**40, 2**61]))
def test_any_declared_size_of_a_tensor(folder, attempt, numbers):
    """Tensors that claim to be longer than what is there, in both formats of ``torch.save``."""
    declared = b"\x8a\x08" + numbers.to_bytes(8, "little", signed=True)
    contents = {f"{PREFIX}visual_spatial_channel_att.x": torch.zeros(177)}  # a number that occurs nowhere else
    for new_format in (True, False):
        buffer = io.BytesIO()
        torch.save(contents, buffer, _use_new_zipfile_serialization=new_format)
        data, marker = buffer.getvalue(), b"K\xb1"
        assert marker in data
        if new_format:
            data = rewritten(data, change=lambda name, record: record.replace(b"K\xb1", declared))
        else:
            data = data.replace(marker, declared)
        (folder / "declared.pth.tar").write_bytes(data)
        assert not attempt(folder / "declared.pth.tar")


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02" + b"(" * 10**6,
        b"\x80\x02N.",
    ],
)
def test_beginnings_of_a_checkpoint_are_refused(folder, contents):
    (folder / "beginning.pth.tar").write_bytes(contents)
    assert accepted(load_checkpoint, folder / "beginning.pth.tar") is None


def test_what_is_no_file_is_refused_without_reading_it(folder):
    os.mkfifo(folder / "pipe")
    for path in (folder, folder / "pipe", folder / "nothing", folder / "nothing" / "below"):
        assert accepted(load_checkpoint, path) is None


# Through the commands


@pytest.mark.slow
def test_commands_end_in_a_sentence_whatever_file_is_damaged(run, trained, data_root, small_config, tmp_path):
    setting, chosen = "weakly", random.Random(0)

    def damaged(path):
        contents = bytearray(path.read_bytes())
        for _ in range(20):
            contents[chosen.randrange(len(contents))] ^= chosen.randrange(1, 256)
        target = tmp_path / path.name
        target.write_bytes(contents[: chosen.randrange(len(contents) // 2, len(contents))])
        return target

    def refused(*arguments):
        result = run(SCRIPTS[setting], "--gpu", "cpu", *arguments, status=2)
        assert result.stdout == ""
        assert "error: " in result.stderr
        assert not (tmp_path / "run").exists()

    last = damaged(trained(setting) / "last.pth.tar")
    refused("--data_root", data_root, "--evaluate", "--resume", last)
    refused("--data_root", data_root, "--resume", last)
    start = ("--snapshot_pref", tmp_path / "run")
    refused("--data_root", data_root, "--config", damaged(small_config(setting)), *start)
    root = tmp_path / "data"
    root.mkdir()
    for path in data_root.iterdir():
        (root / path.name).write_bytes(path.read_bytes())
    name = chosen.choice(["visual_feature.h5", "right_labels.h5", "train_order.h5"])
    (root / name).write_bytes(damaged(data_root / name).read_bytes())
    refused("--data_root", root, "--config", small_config(setting), *start)


@pytest.mark.parametrize("writer", ["torch", "old torch", "ours", "pickle"])
def test_code_in_a_checkpoint_does_not_run(folder, contents, writer):
    trace, path = folder / f"trace of {writer}", folder / "code.pth.tar"
    contents = contents | {"scores": Code(trace)}
    if writer == "ours":  # with a right checksum
        save_checkpoint(path, contents)
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(Code(trace), protocol=2))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=writer == "torch")
    assert accepted(load_checkpoint, path) is None
    assert not trace.exists()
    if writer == "pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.exists()  # the file would have run it


@pytest.mark.slow
def test_code_in_a_checkpoint_does_not_run_whichever_command_reads_it(run, trained, data_root, tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "last.pth.tar"
    contents = torch.load(trained("supervised") / "last.pth.tar", weights_only=True)
    save_checkpoint(path, contents | {"scores": Code(trace)})
    flags = ("--gpu", "cpu", "--data_root", data_root, "--snapshot_pref", tmp_path)
    for more in (("--evaluate", "--resume", path), ("--resume", "auto")):
        said = run("supv_main.py", *flags, *more, status=2).stderr
        assert f"{path}: is damaged, not a checkpoint, or holds code; only tensors and plain values are read" in said
        assert {each.name for each in tmp_path.iterdir()} == {"last.pth.tar"}
