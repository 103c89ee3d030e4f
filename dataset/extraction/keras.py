"""Keras's public file of VGG-19's weights: HDF5, a group per layer, found through attributes.

The attribute ``layer_names`` of the file lists the groups, ``weight_names`` of a group its data sets: those of a
convolution are ``block1_conv1_W_1:0`` and ``..._b_1:0`` in the published file, ``block1_conv1/kernel:0`` and
``.../bias:0`` in files of newer versions.
"""

from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from dataset.extraction.vgg19 import VGG19
from dataset.hdf5 import FAILURES
from utils.errors import InputError, reason_of

CONVOLUTIONS = (2, 2, 4, 4, 4)  # of the blocks


def read_keras_vgg19(path: Path) -> dict[str, Tensor]:
    """The convolutions of VGG-19 under torchvision's names, from Keras's (h, w, in, out) to (out, in, h, w).

    Raises:
        OSError: the system does not let the file be read.
        InputError: the file is damaged, or lacks a layer.
    """
    layers = [f"block{b}_conv{c}" for b, number in enumerate(CONVOLUTIONS, 1) for c in range(1, number + 1)]
    places = [place for place, module in enumerate(VGG19(device="meta").features) if isinstance(module, nn.Conv2d)]
    weights = {}
    try:
        with h5py.File(path, "r") as file:
            names = [_text(name) for name in file.attrs["layer_names"]]
            if missing := [layer for layer in layers if layer not in names]:
                raise InputError(f"{path}: has no layer {missing[0]}, expected the {len(layers)} of Keras's VGG-19")
            for place, layer in zip(places, layers, strict=True):
                group = file[layer]
                arrays = [np.asarray(group[_text(name)], np.float32) for name in group.attrs["weight_names"]]
                kernel, bias = sorted(arrays, key=lambda array: -array.ndim)
                weights[f"features.{place}.weight"] = torch.from_numpy(kernel).permute(3, 2, 0, 1)
                weights[f"features.{place}.bias"] = torch.from_numpy(bias)
    except FAILURES as error:
        if reason_of(error):
            raise
        raise InputError(f"{path}: is damaged or not a file of Keras's weights: {str(error)[:200]}") from error
    return weights


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
