"""The public weights of VGG-19 and VGGish: their sources, and loading them into our networks."""

import hashlib
import logging
import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from dataset.extraction.keras import read_keras_vgg19
from utils.download import download
from utils.errors import AccessError, InputError, reason_of

log = logging.getLogger(__name__)


class WeightFile(NamedTuple):
    """A public file of weights.

    ``digest`` is the published hash, such as "md5:253f..."; of some files, only the first digits are known.
    """

    name: str
    url: str
    digest: str

    def check(self, path: Path) -> None:
        """Raise an ``InputError`` unless ``path`` has the published contents."""
        algorithm, _, digits = self.digest.partition(":")
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if not found.startswith(digits):
            raise InputError(f"{path}: is damaged: its {algorithm} is {found}, expected {digits}")


KERAS = "vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5"
VGG19_WEIGHTS = {
    "torchvision": WeightFile(
        "vgg19-dcbb9e9d.pth", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "sha256:dcbb9e9d"
    ),
    "caffe": WeightFile(
        KERAS,
        f"https://storage.googleapis.com/tensorflow/keras-applications/vgg19/{KERAS}",
        "md5:253f8cb515780f3b799900260a226db6",
    ),
}
VGGISH_WEIGHTS = WeightFile(
    "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    "sha256:10086976",
)


def load_public_weights(network: nn.Module, file: WeightFile, folder: Path | None) -> nn.Module:
    """Load a weight file into a ``VGG19`` or ``VGGish``, as float32 on the CPU; entries of a classifier are ignored.

    Without a ``folder`` that holds it, the file is downloaded once, into PyTorch's cache. Code in it is never run.

    Raises:
        InputError: the file is missing, not available, damaged, or of another network.
    """
    path = folder / file.name if folder else _cached(file)
    weights = _read(path, file)
    if not isinstance(weights, dict):
        raise InputError(f"{path}: not a file of weights, expected tensors by name")
    used = {name: value for name, value in weights.items() if not str(name).startswith("classifier.")}
    try:
        network.load_state_dict({name: value.float().contiguous() for name, value in used.items()}, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the weights are not those of {type(network).__name__}: {error}") from error
    return network


def fingerprint(*networks: nn.Module) -> str:
    """Hash of the weights of networks, in 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for network in networks:
        for value in network.state_dict().values():
            digest.update(value.cpu().contiguous().numpy())
    return digest.hexdigest()[:16]


def _cached(file: WeightFile) -> Path:
    """The file in PyTorch's cache, which torchvision shares; downloaded if it is missing or damaged there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / file.name
    try:
        file.check(path)
    except (OSError, InputError):
        log.info("%s: from %s", path, file.url)
        try:
            download(file.url, path, file.check)
        except InputError as error:
            raise InputError(
                f"{error}. Get {file.name} in another way, and name its directory with --weights"
            ) from error
    return path


def _read(path: Path, file: WeightFile) -> dict:
    try:
        return read_keras_vgg19(path) if file.name == KERAS else torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist: download it from {file.url}") from error
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {reason_of(error) or error}") from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, not a file of weights, or holds code; only tensors and plain values are read"
        ) from error
    except InputError:
        raise
    except Exception as error:  # a damaged file can make torch.load raise anything
        raise InputError(f"{path}: is damaged or not a file of weights: {str(error)[:200]}") from error
