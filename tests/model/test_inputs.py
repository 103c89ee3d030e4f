"""Which inputs and configurations the network takes, and what it says to the others."""

import pytest
import torch

from model import MAGANConfig
from model.registry import NETWORKS
from tests.reference import seeded

SMALL = {"d_model": 32, "encoder_hidden": 48, "decoder_hidden": 40}


def small_model(setting="supervised", **changes):
    torch.manual_seed(0)
    return NETWORKS["magan"][setting](MAGANConfig(**(SMALL | changes))).eval()


@pytest.mark.parametrize("setting", seeded.SETTINGS)
@pytest.mark.parametrize("scope", seeded.SCOPES)
@pytest.mark.parametrize(("b", "t", "h", "w"), [(1, 10, 7, 7), (1, 1, 1, 1), (3, 13, 5, 2), (2, 10, 1, 9)])
def test_any_batch_size_length_and_map_size_works(setting, scope, b, t, h, w):
    model = small_model(setting, scope=scope)
    outputs = model(torch.rand(b, t, h, w, 512), torch.rand(b, t, 128))
    classes = 28 if setting == "supervised" else 29
    for name, value in outputs._asdict().items():
        assert value.shape == ((b, t) if name.endswith("gate") or name == "is_event" else (b, classes)), name
        assert value.isfinite().all()
    decision = model.decisions(outputs).classes(0.5, 28)
    assert decision.shape == (b, t)
    assert decision.dtype == torch.int64


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_widths_heads_and_classes_come_from_the_config(setting):
    model = small_model(setting, visual_dim=24, audio_dim=12, d_model=18, num_heads=3, num_events=5)
    outputs = model(torch.rand(2, 6, 3, 3, 24), torch.rand(2, 6, 12))
    assert outputs.event.shape == (2, 5 if setting == "supervised" else 6)
    assert model.decisions(outputs).classes(0.5, 5).max() <= 5


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_precisions_agree(setting):
    """float32 and bfloat16 autocast give what float64 gives, within what their digits allow, and train."""
    model = small_model(setting).double()
    visual, audio, labels = (tensor[:2] for tensor in seeded.inputs())
    labels = labels if setting == "supervised" else seeded.video_labels(labels)
    exact = model(visual, audio)
    model.float()
    single = model(visual.float(), audio.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model(visual.float(), audio.float())
        loss = model.loss(half, labels.float())["loss"]
    loss.backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    for name, value in exact._asdict().items():
        torch.testing.assert_close(getattr(single, name).double(), value, rtol=1e-3, atol=1e-4, msg=name)
        torch.testing.assert_close(getattr(half, name).double(), value, rtol=0.1, atol=0.1, msg=name)


@pytest.mark.parametrize(
    ("visual", "audio", "said"),
    [
        ((2, 10, 7, 7, 256), (2, 10, 128), ["(2, 10, 7, 7, 256)", "512"]),
        ((2, 10, 49, 512), (2, 10, 128), ["(2, 10, 49, 512)", "height, width"]),
        ((2, 10, 7, 7, 512), (2, 10, 64), ["(2, 10, 64)", "128"]),
        ((2, 10, 7, 7, 512), (2, 128), ["(2, 128)", "(videos, segments, 128)"]),
        ((2, 10, 7, 7, 512), (3, 10, 128), ["2 videos of 10 segments", "3 of 10"]),
        ((2, 10, 7, 7, 512), (2, 9, 128), ["2 videos of 10 segments", "2 of 9"]),
        ((0, 10, 7, 7, 512), (0, 10, 128), ["(0, 10, 7, 7, 512)"]),
    ],
)
def test_wrong_shapes_are_named_with_what_was_expected(visual, audio, said):
    with pytest.raises(ValueError, match="expected") as error:
        small_model()(torch.rand(visual), torch.rand(audio))
    assert all(part in str(error.value) for part in said), error.value


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scope": "segment"}, ["scope", "'segment'", "video, batch"]),
        ({"d_model": 254}, ["d_model", "254", "multiple of num_heads (4)"]),
        ({"num_events": 0}, ["num_events", "0", "1 or more"]),
        ({"num_heads": 4.0}, ["num_heads", "4.0", "whole number"]),
        ({"num_heads": True}, ["num_heads", "True", "whole number"]),
        ({"alpha": "0.1"}, ["alpha", "'0.1'", "number"]),
        ({"alpha": 1.5}, ["alpha", "1.5", "0 to 1"]),
        ({"refine_dropout": 1.0}, ["refine_dropout", "1.0", "less than 1"]),
    ],
)
def test_bad_hyperparameters_are_named_with_what_was_expected(changes, said):
    with pytest.raises((ValueError, TypeError)) as error:
        MAGANConfig(**changes)
    assert all(part in str(error.value) for part in said), error.value


def test_background_is_decided_where_an_event_is_not_likely_enough():
    model = small_model()
    outputs = model(torch.rand(2, 10, 2, 2, 512), torch.rand(2, 10, 128))
    logit = torch.logit(torch.tensor(0.7))
    is_event = torch.full((2, 10), logit - 0.01)
    is_event[0, 3] = logit + 0.01
    event = torch.zeros(2, 28)
    event[0, 17] = 1
    decision = model.decisions(outputs._replace(is_event=is_event, event=event)).classes(0.7, 28)
    assert decision[0].tolist() == [28] * 3 + [17] + [28] * 6
    assert (decision[1] == 28).all()


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_decision_has_all_digits_of_float64(setting):
    model = small_model(setting).double()
    visual, audio = torch.rand(1, 10, 2, 2, 512).double(), torch.rand(1, 10, 128).double()
    logit = torch.logit(torch.tensor(0.7, dtype=torch.float64))
    outputs = model(visual, audio)
    outputs = outputs._replace(event=torch.nn.functional.one_hot(torch.tensor([5]), outputs.event.shape[1]).double())
    for difference, decided in ((1e-9, 5), (-1e-9, 28)):
        decisions = model.decisions(outputs._replace(is_event=(logit + difference).expand(1, 10)))
        assert (decisions.classes(0.7, 28) == decided).all()


def test_event_of_a_video_without_event_is_class_0():
    """As published: one training row of AVE has no event segment."""
    model = small_model()
    labels = torch.zeros(2, 10, 29)
    labels[..., 28] = 1
    outputs = model(torch.rand(2, 10, 2, 2, 512), torch.rand(2, 10, 128))
    loss = model.loss(outputs, labels)["event"]
    expected = torch.nn.functional.cross_entropy(outputs.event, torch.tensor([0, 0]))
    torch.testing.assert_close(loss, expected)
