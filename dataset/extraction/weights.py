"""The public weights of VGG-19 and VGGish: their sources, and loading them into our networks."""

import hashlib
import logging
import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from utils.download import download
from utils.errors import InputError

log = logging.getLogger(__name__)


class WeightFile(NamedTuple):
    """A file of weights.

    ``sha256`` holds the first digits, which are all that is published of the hash.
    """

    name: str
    url: str | None  # None: nobody publishes it
    sha256: str

    def check(self, path: Path) -> None:
        """Check that ``path`` has the published contents.

        Raises:
            InputError: it has others.
        """
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if not digest.startswith(self.sha256):
            raise InputError(f"{path}: is damaged: its SHA-256 is {digest}, expected it to begin with {self.sha256}")


VGG19_WEIGHTS = {
    "torchvision": WeightFile(
        "vgg19-dcbb9e9d.pth", "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth", "dcbb9e9d"
    ),
    "caffe": WeightFile("vgg19-caffe.pth", None, ""),
}
VGGISH_WEIGHTS = WeightFile(
    "vggish-10086976.pth",
    "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth",
    "10086976",
)


def load_public_weights(network: nn.Module, file: WeightFile, folder: Path | None) -> None:
    """Load a weight file into ``network``; entries of a classifier, which our networks lack, are ignored.

    Args:
        network: a ``VGG19`` or ``VGGish``.
        file: its weights.
        folder: holds the file; None downloads it once, into PyTorch's cache. Code in the file is never run.

    Raises:
        InputError: the file is missing, not available, damaged, or of another network.
    """
    path = folder / file.name if folder else _cached(file)
    weights = _read(path, file)
    if not isinstance(weights, dict):
        raise InputError(f"{path}: not a file of weights, expected tensors by name")
    weights = {name: value for name, value in weights.items() if not str(name).startswith("classifier.")}
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: the weights are not those of {type(network).__name__}: {error}") from error


def fingerprint(*networks: nn.Module) -> str:
    """Hash of the weights of networks, in 16 hexadecimal digits."""
    digest = hashlib.sha256()
    for network in networks:
        for value in network.state_dict().values():
            digest.update(value.cpu().numpy().tobytes())
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


def _read(path: Path, file: WeightFile) -> object:
    if not path.is_file():
        remedy = f"download it from {file.url}" if file.url else "put your own weights there, under torchvision's names"
        raise InputError(f"{path}: does not exist: {remedy}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, not a file of weights, or holds code; only tensors and plain values are read"
        ) from error
    except Exception as error:  # a damaged file can make torch.load raise anything
        raise InputError(f"{path}: is damaged or not a file of weights: {str(error)[:200]}") from error
