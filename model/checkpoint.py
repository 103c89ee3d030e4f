"""Reading checkpoint files: ours, and the authors' as they published them.

Ours is a ``torch.save`` archive of plain values and tensors, which ``engine.checkpoint`` writes.
"""

import io
import pickle
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from configs import SETTING_NAMES, Config, parse_config
from configs.ave import EVENTS
from model.network import Network
from model.published import published_weights
from model.registry import network_class, network_config, published_config, recognized
from utils.errors import AccessError, InputError, reason_of

FORMAT, VERSION = "magan", 2  # version 1 is that of releases 1.x
# The first bytes of a file written by torch.save: an archive, or a pickle in versions before 1.6.
_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80\x02"
# Of AVE's features: BGR less ImageNet's mean, as for Keras's weights.
_AVE_EXTRACTION = {"preprocessing": "caffe"}
# For the two names in the authors' commands, which a fresh clone does not have.
_ADVICE = {
    "Supervised_model.pth.tar": ". The authors' checkpoint is downloaded by python -m tools.download --checkpoint",
    "WeaklySupervised_model.pth.tar": ". The authors published no weakly-supervised checkpoint: name the best.pth.tar "
    "of a run of yours",
}


@dataclass
class Checkpoint:
    """The weights of a network and their origin.

    A ``published`` file has no ``class_names``, and a config that scores it as its authors do.
    """

    path: Path
    setting: str
    weights: dict[str, Tensor]
    config: Config
    threshold: float  # of the event probability
    published: bool = False
    class_names: list[str] | None = None
    scores: dict = field(default_factory=dict)  # epoch and accuracies of these weights
    training: dict = field(default_factory=dict)  # state to resume from; empty if no run can
    segments: int | None = None  # of a training video; None also in files of release 1.0
    extraction: dict = field(default_factory=dict)  # how the training features were made; empty if unknown
    format_version: int = VERSION

    def network_class(self) -> type[Network]:
        """The network that the weights are of."""
        return network_class(self.config.network, self.setting)

    def load_into(self, model: Network) -> None:
        """Put the weights into ``model``.

        Raises:
            InputError: some do not fit, which the message lists, or are not finite.
        """
        try:
            weights = model.from_published(self.weights) if self.published else self.weights
            model.load_state_dict(weights)
        except (ValueError, TypeError, RuntimeError) as error:
            raise InputError(f"{self.path}: the weights do not fit the network of the config: {error}") from error
        for name, weight in model.state_dict().items():
            if not weight.isfinite().all():
                raise InputError(f"{self.path}: is damaged: the weights {name} are not all finite")


def load_checkpoint(path: Path, setting: str | None = None) -> Checkpoint:
    """Read a checkpoint of ours or of the authors, of a certain ``setting`` or of either. Code in it is never run.

    Raises:
        InputError: the file is missing, damaged, not a checkpoint, holds code, or is of the other setting.
    """
    data = _read(path)
    try:
        if data.startswith(_ARCHIVE):
            _check_archive(data)
        contents = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, not a checkpoint, or holds code; only tensors and plain values are read"
        ) from error
    except Exception as error:  # a damaged file can make torch.load raise anything
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise InputError(f"{path}: is damaged or not a checkpoint: {reason}") from error

    if (published := published_weights(contents)) and (network := recognized(published)):
        config = published_config(network)
        checkpoint = Checkpoint(path, network.setting, published, config, network.event_threshold, published=True)
    elif isinstance(contents, dict) and contents.get("format") == FORMAT:
        checkpoint = _read_ours(path, contents)
    else:
        raise InputError(f"{path}: is neither a checkpoint of this program nor one that the authors published")
    if setting not in (None, checkpoint.setting):
        found, expected = SETTING_NAMES[checkpoint.setting], SETTING_NAMES[setting]
        authors = " of the authors" if checkpoint.published else ""
        script = "supv_main.py" if setting == "weakly" else "weakly_main.py"
        raise InputError(f"{path}: is a {found} checkpoint{authors}, expected a {expected} one; use {script}")
    if not checkpoint.extraction and (checkpoint.published or checkpoint.class_names == list(EVENTS)):
        checkpoint.extraction = dict(_AVE_EXTRACTION)
    return checkpoint


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            begin = file.read(len(_ARCHIVE))
            if not begin.startswith((_ARCHIVE, _PICKLE)):  # before gigabytes of another file are read
                raise InputError(f"{path}: is damaged or not a checkpoint: it does not begin like one")
            file.seek(0)
            return file.read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist{_ADVICE.get(path.name, '')}") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a directory, expected a checkpoint, such as best.pth.tar in it") from error
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {reason_of(error) or error}") from error


def _check_archive(data: bytes) -> None:
    """Check the archive's own checksums, which torch.load does not."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} in it is wrong, copy it again")


def _read_ours(path: Path, contents: dict) -> Checkpoint:
    version, setting = contents.get("version"), contents.get("setting")
    if version not in range(1, VERSION + 1):
        raise InputError(f"{path}: has format version {version}, this program reads versions up to {VERSION}")
    if setting not in SETTING_NAMES:
        raise InputError(f"{path}: its setting is {setting!r}, expected one of {', '.join(SETTING_NAMES)}")
    config = parse_config(contents.get("config"), f"{path}, its config")
    network = network_class(config.network, setting)
    network_config(network, config)  # checks the values
    threshold = contents.get("event_threshold") or config.training.event_threshold or network.event_threshold
    # best.pth.tar has no training; files of release 1.0 have neither segments nor extraction.
    others = {name: contents[name] for name in ("scores", "training", "segments", "extraction") if name in contents}
    try:
        names, weights = contents["class_names"], contents["weights"]
    except KeyError as error:
        raise InputError(f"{path}: was not written by this program: it has no {error}") from error
    return Checkpoint(path, setting, weights, config, threshold, class_names=names, format_version=version, **others)
