"""Keras's public weights are read as they are, and the features are those of an independent computation."""

import h5py
import numpy as np
import pytest
import torch

from dataset.extraction.vgg19 import VGG19
from dataset.extraction.weights import KERAS, VGG19_WEIGHTS, load_public_weights
from tests.weights import NAMINGS, keras_weights, write_keras
from utils.errors import InputError

POOLED = ("block1_conv2", "block2_conv2", "block3_conv4", "block4_conv4", "block5_conv4")  # a pooling follows


def independent_features(weights, picture):
    """pool5 (h, w, 512) of a picture (H, W, 3), RGB: a sum over the nine shifts of each layer's input, in float64."""
    x = picture[..., ::-1].astype(np.float64) - [103.939, 116.779, 123.68]
    for layer, (kernel, bias) in weights.items():
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        h, w, _ = x.shape
        x = sum(padded[i : i + h, j : j + w] @ kernel[i, j].astype(np.float64) for i in range(3) for j in range(3))
        x = np.maximum(x + bias, 0)
        if layer in POOLED:
            x = x.reshape(h // 2, 2, w // 2, 2, -1).max(axis=(1, 3))
    return x


@pytest.mark.parametrize("naming", NAMINGS)
def test_features_agree_with_an_independent_computation(tmp_path, naming):
    weights = keras_weights()
    write_keras(tmp_path / KERAS, weights, naming)
    network = VGG19("caffe").eval()
    load_public_weights(network, VGG19_WEIGHTS["caffe"], tmp_path)
    picture = np.random.default_rng(1).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    with torch.inference_mode():
        features = network(torch.from_numpy(picture).unsqueeze(0))[0].numpy()
    expected = independent_features(weights, picture)
    assert features.shape == expected.shape == (2, 3, 512)
    assert expected.max() > 1
    np.testing.assert_allclose(features, expected, atol=1e-4 * expected.max())


def test_file_that_is_not_keras_weights_is_one_sentence(tmp_path):
    path = tmp_path / KERAS

    def refusal():
        with pytest.raises(InputError) as error:
            load_public_weights(VGG19("caffe"), VGG19_WEIGHTS["caffe"], tmp_path)
        return str(error.value)

    assert "does not exist: download it from https://storage.googleapis.com/" in refusal()
    path.write_bytes(b"something else")
    assert "is damaged or not a file of Keras's weights" in refusal()
    weights = keras_weights()
    write_keras(path, weights, NAMINGS[0])
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is damaged or not a file of Keras's weights" in refusal()
    write_keras(path, {name: value for name, value in weights.items() if name != "block5_conv4"}, NAMINGS[0])
    assert "has no layer block5_conv4, expected the 16 of Keras's VGG-19" in refusal()
    write_keras(path, weights | {"block3_conv1": weights["block2_conv1"]}, NAMINGS[0])
    assert "the weights are not those of VGG19: " in refusal()
    with h5py.File(path, "w") as file:
        file["block1_conv1"] = np.zeros(3)
    assert "is damaged or not a file of Keras's weights" in refusal()
