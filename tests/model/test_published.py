"""The authors' checkpoint files are recognised, mapped whole, and refused with a list where they do not fit."""

import pytest
import torch

from model.published import from_published, published_parts, published_setting, published_weights
from model.registry import NETWORKS
from tests.model.conftest import published_checkpoint
from tests.reference import seeded


@pytest.fixture(params=seeded.SETTINGS)
def setting(request):
    return request.param


def test_published_files_are_recognised_by_their_keys(setting, config):
    contents = published_checkpoint(setting)
    assert published_weights(contents) == contents
    assert published_setting(contents) == setting
    assert not published_weights(NETWORKS["magan"][setting](config(setting)).state_dict())
    assert not published_weights({"weights": contents})
    assert not published_weights([1, 2])
    assert not published_weights({**contents, "module.visual_spatial_channel_att.beta": "0.5"})


def test_every_number_of_ours_comes_from_exactly_one_of_theirs(setting, config):
    model = NETWORKS["magan"][setting](config(setting))
    counted = {name: torch.zeros(tensor.shape) for name, tensor in model.state_dict().items()}
    for part in published_parts(model).values():
        counted[part.key][part.rows] += 1
    assert all((count == 1).all() for count in counted.values())


def test_all_that_does_not_fit_is_listed_at_once(setting, config):
    model = NETWORKS["magan"][setting](config(setting))
    contents = dict(published_checkpoint(setting))
    del contents["module.audio_cas.bias"]
    contents["module.global_av_gate.fc1.weight"] = torch.zeros(256, 256)  # as in the published weakly code
    contents["module.extra.weight"] = torch.zeros(3)
    with pytest.raises(ValueError, match="entries do not fit") as error:
        from_published(contents, model)
    classes = 28 if setting == "supervised" else 29
    headline, *listed = str(error.value).splitlines()
    assert headline == "3 entries do not fit:"
    assert sorted(listed) == [
        f"  module.audio_cas.bias: missing, expected shape ({classes},)",
        f"  module.extra.weight: not an entry of a published {setting} checkpoint",
        "  module.global_av_gate.fc1.weight: shape (256, 256), expected (256, 512)",
    ]


def test_layers_that_no_output_depends_on_may_be_absent(setting, config):
    model = NETWORKS["magan"][setting](config(setting))
    contents = published_checkpoint(setting)
    used = {f"module.{name}" for name in published_parts(model)}
    whole, lean = from_published(contents, model), from_published({k: contents[k] for k in used}, model)
    assert all(torch.equal(whole[key], lean[key]) for key in whole)
