"""The public weights of VGG-19 and VGGish: where they come from, and how they get into our networks."""

import hashlib
import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from utils.errors import InputError


class WeightFile(NamedTuple):
    """A file of weights, and where everybody can get it, if anywhere."""

    name: str
    url: str | None


VGG19_WEIGHTS = {
    "torchvision": WeightFile("vgg19-dcbb9e9d.pth", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth"),
    "caffe": WeightFile("vgg19-caffe.pth", None),
}
VGGISH_WEIGHTS = WeightFile(
    "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
)


def load_public_weights(network: nn.Module, file: WeightFile, folder: Path | None) -> None:
    """Load a file from ``folder``, or without one from where it is published, into ``network``.

    A download is checked by the hash in the file's name and kept in PyTorch's cache. A classifier, which our networks
    do not have, is left aside. Nothing in the file is ever run.

    Raises:
        InputError: the file is missing, cannot be downloaded, is damaged, or is not of this network.
    """
    path = folder / file.name if folder else None
    weights = _read(path, file) if path else _download(file)
    source = path or file.url
    if not isinstance(weights, dict):
        raise InputError(f"{source}: is no file of weights, expected tensors by name")
    weights = {name: value for name, value in weights.items() if not str(name).startswith("classifier.")}
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{source}: the weights are not those of {type(network).__name__}: {error}") from error


def fingerprint(*networks: nn.Module) -> str:
    """A short text that tells other weights from these."""
    digest = hashlib.sha256()
    for network in networks:
        for value in network.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _read(path: Path, file: WeightFile) -> dict:
    if not path.is_file():
        where = f"download it from {file.url}" if file.url else "put your own weights there, under torchvision's names"
        raise InputError(f"{path}: is not there: {where}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, no file of weights, or holds code; only tensors and plain values are read"
        ) from error
    except Exception as error:  # there is no end to what a damaged file makes the reader raise
        raise InputError(f"{path}: is damaged or no file of weights: {str(error)[:200]}") from error


def _download(file: WeightFile) -> dict:
    try:
        return torch.hub.load_state_dict_from_url(file.url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # no network, a wrong hash, a damaged cache
        raise InputError(
            f"{file.name}: cannot be downloaded from {file.url}: {getattr(error, 'reason', error)}. "
            f"Get the file in another way, and name its folder with --weights"
        ) from error
