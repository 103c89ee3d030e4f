"""VGG-19 is the public network, and its pictures are prepared as the weights expect them."""

import pytest
import torch

from dataset.extraction.vgg19 import VGG19

# Of torchvision's file: the layers' numbers, and what enters and leaves them.
PUBLIC_LAYERS = {
    **{0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256)},
    **{16: (256, 256), 19: (256, 512), 21: (512, 512), 23: (512, 512), 25: (512, 512), 28: (512, 512)},
    **{30: (512, 512), 32: (512, 512), 34: (512, 512)},
}


def test_parameters_have_the_public_names_and_shapes():
    state = VGG19().state_dict()
    assert list(state) == [f"features.{layer}.{part}" for layer in PUBLIC_LAYERS for part in ("weight", "bias")]
    for layer, (width_in, width_out) in PUBLIC_LAYERS.items():
        assert state[f"features.{layer}.weight"].shape == (width_out, width_in, 3, 3)


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        ("torchvision", [(200 / 255 - 0.485) / 0.229, (100 / 255 - 0.456) / 0.224, (50 / 255 - 0.406) / 0.225]),
        ("caffe", [50 - 103.939, 100 - 116.779, 200 - 123.68]),
    ],
)
def test_pictures_are_prepared_as_the_weights_expect(preprocessing, expected):
    network = VGG19(preprocessing)
    read = []
    network.features[0].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    picture = torch.tensor([200, 100, 50], dtype=torch.uint8).expand(1, 32, 32, 3)  # red, green, blue
    network(picture)
    assert read[0].shape == (1, 3, 32, 32)
    for channel, value in enumerate(expected):
        torch.testing.assert_close(read[0][0, channel], torch.full((32, 32), value), atol=1e-4, rtol=1e-5)


def test_map_is_that_of_pool5_with_rows_and_columns_in_place():
    """A change in the picture's lower left corner changes the map's, and leaves the opposite corner as it is."""
    torch.manual_seed(0)
    network = VGG19().eval()
    picture = torch.full((1, 224, 224, 3), 100, dtype=torch.uint8)
    changed = picture.clone()
    changed[:, -32:, :32] = 255
    with torch.inference_mode():
        maps = network(torch.cat([picture, changed]))
    difference = (maps[1] - maps[0]).abs().amax(dim=-1)
    assert difference.shape == (7, 7)
    assert difference[-1, 0] > 0
    assert difference[0, -1] == 0
    assert (maps >= 0).all()
