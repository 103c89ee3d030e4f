"""``load_network(...).predict`` takes features as people have them, and says what the network's decision says."""

import weakref
from itertools import pairwise

import h5py
import numpy as np
import pytest
import torch

from configs.ave import EVENTS
from engine.checkpoint import save_checkpoint
from model import Event, load_network
from model.network import Decisions
from model.prediction import TrainedNetwork, Windows, events_of
from tests.model.conftest import inputs, published_checkpoint
from tests.reference import seeded
from utils.errors import InputError


@pytest.fixture(scope="module")
def test_set(data_root):
    """Features of the synthetic test split: visual (b, 10, 2, 2, 64), audio (b, 10, 32)."""
    with h5py.File(data_root / "test_order.h5") as file:
        rows = np.sort(file["order"][()])
    features = []
    for name in ("visual_feature", "audio_feature"):
        with h5py.File(data_root / f"{name}.h5") as file:
            features.append(file["avadataset"][rows])
    return features


@pytest.fixture(params=seeded.SETTINGS)
def model(request, trained):
    """A small trained network of either setting."""
    return load_network(trained(request.param) / "best.pth.tar")


def test_ten_seconds_are_decided_as_in_evaluation(model, test_set):
    visual, audio = test_set
    tensors = [torch.from_numpy(each.astype(np.float32)) for each in test_set]
    with torch.inference_mode():
        outputs = model.network(*tensors)
        decided = model.network.decisions(outputs).classes(model.threshold, 28)
    predictions = model.predict(visual, audio)
    assert len(predictions) == len(visual)
    for row, prediction in enumerate(predictions):
        assert prediction.classes.tolist() == decided[row].tolist()
        np.testing.assert_allclose(
            prediction.event_probability, torch.sigmoid(outputs.is_event[row].double()).numpy(), rtol=1e-6
        )
        np.testing.assert_allclose(prediction.class_probability.sum(axis=-1), 1)


def test_events_are_the_longest_runs_of_seconds_of_one_class(trained):
    names = load_network(trained("supervised") / "best.pth.tar").class_names
    event = np.array([0.9, 0.8, 0.1, 0.75, 0.9, 0.9, 0.2, 0.7, 0.71])
    classes = np.zeros((9, 28))
    classes[:, 3] = 0.6
    classes[4:6, 3], classes[4:6, 5] = 0.2, 0.8
    decisions = Decisions(torch.from_numpy(event)[None], torch.from_numpy(classes)[None])
    decided = decisions.classes(0.7, 28)[0].numpy()
    events = events_of(decided, event * classes.max(axis=-1), names)
    assert [each[:3] for each in events] == [
        (names[3], 0, 2),
        (names[3], 3, 4),
        (names[5], 4, 6),
        (names[3], 8, 9),
    ]
    assert events[0] == Event(names[3], 0, 2, pytest.approx(0.85 * 0.6))
    assert events[2].probability == pytest.approx(0.9 * 0.8)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float16", "float32", "float64")]
    + [("torch", "bfloat16")],
)
def test_any_float_type_of_numpy_or_torch_gives_the_same(trained, test_set, kind, dtype):
    model = load_network(trained("supervised") / "best.pth.tar")
    features = [torch.from_numpy(each[0]).to(getattr(torch, dtype)) for each in test_set]
    expected = model.predict(*(each.float() for each in features))
    given = model.predict(*((each.numpy() for each in features) if kind == "numpy" else features))
    np.testing.assert_array_equal(given.event_probability, expected.event_probability)
    assert given.events == expected.events


@pytest.mark.filterwarnings("error")
def test_any_layout_of_numpy_gives_the_same(trained, test_set):
    """Byte order, digits, views backwards, with gaps, transposed, and memory that is not to be written."""
    model = load_network(trained("supervised") / "best.pth.tar")
    features = [each[0].astype(np.float32) for each in test_set]
    expected = model.predict(*features)

    def read_only(array):
        array = array.copy()
        array.flags.writeable = False
        return array

    for name, change in {
        "big-endian": lambda array: array.astype(">f4"),
        "big-endian float64": lambda array: array.astype(">f8"),
        "longdouble": lambda array: array.astype(np.longdouble),
        "backwards": lambda array: array[::-1].copy()[::-1],
        "with gaps": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
        "Fortran order": np.asfortranarray,
        "read-only": read_only,
        "list": np.ndarray.tolist,
    }.items():
        given = model.predict(*map(change, features))
        np.testing.assert_array_equal(given.event_probability, expected.event_probability, err_msg=name)


def test_one_video_is_predicted_as_among_others(model, test_set):
    """In scope video, the default."""
    visual, audio = test_set
    together = model.predict(visual, audio)
    alone = model.predict(visual[1], audio[1])
    np.testing.assert_allclose(alone.event_probability, together[1].event_probability, atol=1e-5)
    assert alone.class_probability.shape == together[1].class_probability.shape


def test_long_video_is_read_in_overlapping_windows_whose_probabilities_are_averaged(model, test_set):
    visual, audio = (np.concatenate(list(each[:3]))[:23] for each in test_set)
    prediction = model.predict(visual, audio)
    windows = {start: model.predict(visual[start : start + 10], audio[start : start + 10]) for start in (0, 5, 10, 13)}
    for second in range(23):
        covering = [(window, second - start) for start, window in windows.items() if 0 <= second - start < 10]
        for name in ("event_probability", "class_probability"):
            expected = np.mean([getattr(window, name)[place] for window, place in covering], axis=0)
            np.testing.assert_allclose(getattr(prediction, name)[second], expected, atol=1e-5)
    assert len(prediction.classes) == 23


@pytest.mark.parametrize("length", [1, 3, 9])
def test_short_video_is_read_as_if_its_last_second_went_on(model, test_set, length):
    visual, audio = (each[0, :length] for each in test_set)
    prediction = model.predict(visual, audio)
    longer = [np.concatenate([each, np.repeat(each[-1:], 10 - length, axis=0)]) for each in (visual, audio)]
    expected = model.predict(*longer)
    np.testing.assert_allclose(prediction.event_probability, expected.event_probability[:length], atol=1e-6)
    assert all(event.end <= length for event in prediction.events)


@pytest.mark.parametrize("size", [1, 4, 5, 10])
def test_windows_cover_every_second_and_overlap_by_half_whatever_the_parts(size):
    for length in (*range(1, 45), 100):
        seconds = torch.arange(length).reshape(1, length, 1)
        for part in (1, 3, 7, length):
            windows = Windows(((each, -each) for each in seconds.split(part, dim=1)), size)
            found = list(windows)
            starts = [start for start, *_ in found]
            assert windows.length == length
            assert starts[0] == 0
            assert starts[-1] == max(0, length - size)
            assert all(0 < b - a <= max(1, size // 2) for a, b in pairwise(starts))
            for start, visual, audio in found:
                expected = torch.arange(start, start + size).clamp(max=length - 1)  # the last second is repeated
                assert torch.equal(visual.flatten(), expected)
                assert torch.equal(audio, -visual)


def test_attention_and_gates_of_a_second_are_means_over_its_windows_and_kept_only_if_asked_for(model, test_set):
    """15 seconds are read as the windows 0 to 10 and 5 to 15."""
    visual, audio = (np.concatenate(list(each[:2]))[:15].astype(np.float32) for each in test_set)
    assert model.predict(visual, audio).observation is None
    given = model.predict(visual, audio, observe=True).observation
    with model.network.observed() as observed, torch.inference_mode():
        seen = []
        for start in (0, 5):
            outputs = model.network(*(torch.from_numpy(each[None, start : start + 10]) for each in (visual, audio)))
            seen.append({name: values[0].numpy() for name, values in observed(outputs).items()})
    for name, values in given.items():
        first, second = (each[name] for each in seen)
        expected = np.concatenate([first[:5], (first[5:] + second[:5]) / 2, second[5:]])
        np.testing.assert_allclose(values.reshape(expected.shape), expected, atol=1e-6)
    assert given["visual_attention"].shape == (15, 2, 2)
    np.testing.assert_allclose(given["audio_guided_attention"].sum(axis=(1, 2)), 1, atol=1e-5)


def test_video_in_parts_is_predicted_as_at_once(model, test_set):
    visual, audio = (np.concatenate(list(each[:3]))[:23] for each in test_set)
    expected = model.predict(visual, audio, observe=True)
    for size in (1, 4, 23):
        parts = [(visual[start : start + size], audio[start : start + size]) for start in range(0, 23, size)]
        prediction = model.predict_parts(iter(parts), observe=True)
        assert [event[:3] for event in prediction.events] == [event[:3] for event in expected.events]
        pairs = [*zip(prediction[1:4], expected[1:4], strict=True)]
        pairs += [(prediction.observation[name], values) for name, values in expected.observation.items()]
        for given, complete in pairs:
            np.testing.assert_allclose(given, complete, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="audio features have shape"):
        model.predict_parts([(visual, audio[:, :5])])


def test_long_video_in_parts_takes_no_more_memory_than_a_window_and_a_part(model, test_set):
    """Of all parts that were handed out, only the latest ones are alive."""
    alive = weakref.WeakSet()
    most = 0

    def parts():
        nonlocal most
        for _ in range(50):
            part = [torch.from_numpy(each[0, :3].copy()) for each in test_set]
            alive.add(part[0])
            most = max(most, len(alive))
            yield tuple(part)

    assert len(model.predict_parts(parts()).classes) == 150
    assert most <= 3


def test_bad_features_are_value_errors_that_say_what_was_expected(model, test_set):
    visual, audio = (each[0] for each in test_set)
    broken = visual.copy()
    broken[3] = np.nan
    for bad_visual, bad_audio, sentence in (
        (visual[0], audio, "expected (seconds, height, width, 64) or (videos, seconds, height, width, 64)"),
        (visual[..., :40], audio, "visual features have shape (10, 2, 2, 40)"),
        (
            visual,
            audio[:, :16],
            "audio features have shape (10, 16), expected (seconds, 32) or (videos, seconds, 32)",
        ),
        (visual[:0], audio[:0], "visual features have shape (0, 2, 2, 64)"),
        (visual[:9], audio, "1 videos of 9 seconds, audio features 1 of 10"),
        (test_set[0][:2], test_set[1][:3], "2 videos of 10 seconds, audio features 3 of 10"),
        (visual, test_set[1], "both of one video or both of several"),
        (visual.astype(int), audio, "type int64, expected floating-point"),
        (torch.from_numpy(visual.astype(int)), audio, "type torch.int64, expected floating-point"),
        (visual.astype(object), audio, "cannot be read as numbers: they have type object"),
        (np.full_like(visual, 1e40, float), audio, "visual features are not all finite as float32"),
        (torch.full(visual.shape, 1e40, dtype=torch.float64), audio, "visual features are not all finite as float32"),
        (np.full_like(visual, 1e40, np.longdouble), audio, "visual features are not all finite as float32"),
        (broken, audio, "visual features are not all finite"),
        (
            visual,
            np.full_like(audio, 1e30, np.float32),
            "audio features are not all finite as float32, or too large for it",
        ),
        (["a"], audio, "visual features cannot be read as numbers"),
    ):
        with pytest.raises(ValueError, match="features") as error:
            model.predict(bad_visual, bad_audio)
        assert sentence in str(error.value)


def test_outputs_that_are_not_finite_are_no_prediction(trained, test_set):
    model = load_network(trained("supervised") / "best.pth.tar")
    with torch.no_grad():
        model.network.localization.is_event.weight.fill_(3e38)
    with pytest.raises(ValueError, match="the network's outputs are not finite"):
        model.predict(*test_set)


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_published_checkpoint_predicts_as_it_was_made(tmp_path, setting):
    """Scope batch and float64; the videos of one call share their batch, as in its own evaluation."""
    torch.save(published_checkpoint(setting), tmp_path / "published.pth.tar")
    model = load_network(tmp_path / "published.pth.tar")
    assert model.network.config.scope == "batch"
    assert model.class_names == list(EVENTS)
    assert model.extraction == {"preprocessing": "caffe"}
    visual, audio, _ = inputs()
    expected = seeded.expected_outputs(setting, "batch")
    for row, prediction in enumerate(model.predict(visual, audio)):
        np.testing.assert_allclose(
            prediction.event_probability, 1 / (1 + np.exp(-expected["is_event"][row])), rtol=1e-9
        )
        assert prediction.classes.tolist() == expected["prediction"][row].tolist()


def test_own_checkpoint_of_scope_batch_predicts_in_scope_video_and_says_so(trained, test_set, tmp_path, caplog):
    contents = torch.load(trained("supervised") / "best.pth.tar", weights_only=True)
    expected = load_network(trained("supervised") / "best.pth.tar").predict(*test_set)
    assert not caplog.records
    contents["config"]["model"]["scope"] = "batch"
    save_checkpoint(tmp_path / "batch.pth.tar", contents)
    model = load_network(tmp_path / "batch.pth.tar")
    assert model.network.config.scope == "video"
    assert "batch.pth.tar predicts each video alone, and was trained with attention over the batch" in caplog.text
    for given, one in zip(model.predict(*test_set), expected, strict=True):
        np.testing.assert_array_equal(given.event_probability, one.event_probability)


def test_checkpoint_keeps_how_its_features_were_made(trained, tmp_path):
    """Files of earlier releases do not; a network that was trained on AVE's events has read the published features."""
    contents = torch.load(trained("supervised") / "best.pth.tar", weights_only=True)
    assert contents.pop("extraction") == {}
    path = tmp_path / "best.pth.tar"
    save_checkpoint(path, contents)
    assert load_network(path).extraction == {}
    save_checkpoint(path, {**contents, "class_names": list(EVENTS)})
    assert load_network(path).extraction == {"preprocessing": "caffe"}
    record = {"preprocessing": "torchvision", "weights": "0123456789abcdef"}
    save_checkpoint(path, {**contents, "class_names": list(EVENTS), "extraction": record})
    assert load_network(path).extraction == record


def test_what_does_not_fit_the_checkpoint_is_refused(trained, tmp_path):
    path = trained("supervised") / "best.pth.tar"
    names = [f"name {k}" for k in range(28)]
    assert load_network(str(path), class_names=names).class_names == names
    assert isinstance(load_network(path, segments=4), TrainedNetwork)
    with pytest.raises(ValueError, match="27 class names, expected 28"):
        load_network(path, class_names=names[1:])
    with pytest.raises(InputError, match=r"none\.pth\.tar"):
        load_network(tmp_path / "none.pth.tar")
