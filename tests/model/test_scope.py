"""What a prediction depends on, under either attention scope."""

import pytest
import torch

from tests.model.conftest import inputs
from tests.reference import seeded


def outputs_of_first_video(model, visual, audio):
    with torch.no_grad():
        return [output[0] for output in model(visual, audio)]


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_prediction_does_not_depend_on_batch_companions_under_scope_video(seeded_model, setting):
    visual, audio, _ = inputs()
    model = seeded_model(setting, "video")
    alone = outputs_of_first_video(model, visual[:1], audio[:1])
    with_others = outputs_of_first_video(model, visual, audio)
    with_changed_others = outputs_of_first_video(
        model, torch.cat([visual[:1], 9 * visual[3:]]), torch.cat([audio[:1], 9 * audio[3:]])
    )
    torch.testing.assert_close(with_others, alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(with_changed_others, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_prediction_depends_on_batch_companions_under_scope_batch(seeded_model, setting):
    visual, audio, _ = inputs()
    model = seeded_model(setting, "batch")
    alone = outputs_of_first_video(model, visual[:1], audio[:1])
    with_others = outputs_of_first_video(model, visual, audio)
    for name, one, other in zip(model(visual[:1], audio[:1])._fields, alone, with_others, strict=True):
        assert (one - other).abs().max() > 1e-6, name


def test_companions_do_not_matter_in_float32_either(seeded_model):
    visual, audio, _ = (tensor.float() for tensor in inputs())
    model = seeded_model("supervised", "video").float()
    alone = outputs_of_first_video(model, visual[:1], audio[:1])
    torch.testing.assert_close(outputs_of_first_video(model, visual, audio), alone, rtol=1e-4, atol=1e-4)
