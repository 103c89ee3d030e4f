"""Files of seeded weights in the format of Keras's VGG-19."""

from pathlib import Path

import h5py
import numpy as np

# The data sets of a convolution, as published and as newer versions of Keras write them.
NAMINGS = ("{layer}_{letter}_1:0", "{layer}/{word}:0")
WIDTHS = {"block1": (64, 64), "block2": (128, 128), "block3": 4 * (256,), "block4": 4 * (512,), "block5": 4 * (512,)}

KerasWeights = dict[str, tuple[np.ndarray, np.ndarray]]


def keras_weights() -> KerasWeights:
    """A kernel (3, 3, in, out) and a bias (out,) for each convolution, random ones that keep the signal's size."""
    random = np.random.default_rng(0)
    weights, in_channels = {}, 3
    for block, widths in WIDTHS.items():
        for number, width in enumerate(widths, 1):
            kernel = random.standard_normal((3, 3, in_channels, width), np.float32) * (2 / (9 * in_channels)) ** 0.5
            weights[f"{block}_conv{number}"] = kernel, 0.05 * random.standard_normal(width, np.float32)
            in_channels = width
    return weights


def write_keras(path: Path, weights: KerasWeights, naming: str) -> None:
    """Write weights as Keras does: layers without weights have empty groups."""
    layers = ["input_1", *weights]
    for block in WIDTHS:
        last = max(place for place, layer in enumerate(layers) if layer == "input_1" or layer.startswith(block))
        layers.insert(last + 1, f"{block}_pool")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer in layers:
            group = file.create_group(layer)
            names = []
            for letter, word, values in zip("Wb", ("kernel", "bias"), weights.get(layer, ()), strict=False):
                names.append(naming.format(layer=layer, letter=letter, word=word))
                group[names[-1]] = values
            group.attrs["weight_names"] = np.array([name.encode() for name in names], dtype="S40")
