"""Reading checkpoint files: ours, and the authors' as they published them.

Ours is a ``torch.save`` archive of plain values and tensors. The archive's comment holds its SHA-256, which reveals any
bit that changes after the write, while ``torch.load`` reads the file like any other. ``engine.checkpoint`` writes them.
"""

import hashlib
import io
import pickle
import stat
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from configs import SETTING_NAMES, Config, parse_config
from configs.ave import EVENTS
from configs.variants import check_setting
from model.magan import MAGAN
from model.published import from_published, published_setting, published_weights
from utils.errors import AccessError, InputError, reason_of

FORMAT, VERSION = "magan", 1
_COMMENT = b"magan-sha256:"
_COMMENT_SIZE = len(_COMMENT) + 64
# A zip file ends with the length of its comment, two bytes, and the comment; all other bytes are hashed.
_TRAILER_SIZE = 2 + _COMMENT_SIZE
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
_CONTENTS = {
    "version": int,
    "setting": str,
    "config": dict,
    "class_names": list,
    "scores": dict,
    "weights": dict,
    "training": dict,
    "segments": int | None,
    "extraction": dict,
}


@dataclass
class Checkpoint:
    """The weights of a network and their origin.

    ``config`` and ``class_names`` are None for a published file; ``training`` is empty if no run can resume from it.
    """

    path: Path
    setting: str
    weights: dict[str, Tensor]
    config: Config | None = None
    class_names: list[str] | None = None
    scores: dict = field(default_factory=dict)  # epoch and accuracies of these weights
    training: dict = field(default_factory=dict)  # optimizer, schedule, progress, best epoch so far, random states
    segments: int | None = None  # of a training video; None also in files of release 1.0
    extraction: dict = field(default_factory=dict)  # how the training features were made; empty if unknown

    @property
    def published(self) -> bool:
        """Whether the file is in the authors' format."""
        return self.config is None

    def load_into(self, model: MAGAN) -> None:
        """Put the weights into ``model``.

        Raises:
            InputError: some do not fit, which the message lists, or are not finite; ``model`` is another variant.
        """
        found, expected = () if self.published else self.config.model.variant, model.config.variant
        if found != expected and (self.published or self.weights.keys() != model.state_dict().keys()):
            origin = "published by the authors, has" if self.published else "has"
            raise InputError(
                f"{self.path}: {origin} the weights of {_described(found)}, not of {_described(expected)}: give the "
                "variants that it was trained with"
            )
        try:
            weights = from_published(self.weights, model) if self.published else self.weights
            model.load_state_dict(weights)
        except (ValueError, RuntimeError) as error:
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
    trailer = data[-_TRAILER_SIZE:]
    ours = trailer.startswith(trailer_of(""))  # whatever the digest
    if ours and trailer != trailer_of(hashlib.sha256(memoryview(data)[:-_TRAILER_SIZE]).hexdigest()):
        raise InputError(f"{path}: is damaged, its checksum does not agree with its contents: copy it again")
    try:
        if data.startswith(_ARCHIVE):
            _check_archive(data, checksums=not ours)
        contents = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, not a checkpoint, or holds code; only tensors and plain values are read"
        ) from error
    except Exception as error:  # a damaged file can make torch.load raise anything
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise InputError(f"{path}: is damaged or not a checkpoint: {reason}") from error

    if published := published_weights(contents):
        _check_weights(path, published)
        checkpoint = Checkpoint(path, published_setting(published), published)
    elif isinstance(contents, dict) and contents.get("format") == FORMAT:
        if not ours:
            raise InputError(f"{path}: is damaged, its checksum is missing: copy it again")
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
        if not stat.S_ISREG(path.stat().st_mode):
            run = ", such as best.pth.tar in it" if path.is_dir() else ""
            raise InputError(f"{path}: is not a regular file, expected a checkpoint{run}")
        with open(path, "rb") as file:
            begin = file.read(len(_ARCHIVE))
            if not begin.startswith((_ARCHIVE, _PICKLE)):  # before gigabytes of another file are read
                raise InputError(f"{path}: is damaged or not a checkpoint: it does not begin like one")
            file.seek(0)
            return file.read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: does not exist{_ADVICE.get(path.name, '')}") from error
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {reason_of(error) or error}") from error
    except MemoryError as error:
        raise InputError(f"{path}: cannot be read: it is too large for the memory") from error


def _check_archive(data: bytes, checksums: bool) -> None:
    """Check that an archive is uncompressed and, if asked to, that its checksums hold; torch.load checks neither."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its archive is compressed")
        if checksums and (damaged := archive.testzip()):
            raise ValueError(f"the checksum of {damaged} in it is wrong, copy it again")


def _read_ours(path: Path, contents: dict) -> Checkpoint:
    version = contents.get("version")
    if isinstance(version, int) and version != VERSION:
        raise InputError(f"{path}: has format version {version}, this program reads version {VERSION}")
    # best.pth.tar has no training; files of release 1.0 have neither segments nor extraction.
    contents = {"training": {}, "segments": None, "extraction": {}, **contents}
    for name, kind in _CONTENTS.items():
        if not isinstance(contents.get(name), kind):
            kind = getattr(kind, "__name__", kind)
            raise InputError(f"{path}: was not written by this program: its {name} is not a {kind}")
    weights, names = contents["weights"], contents["class_names"]
    _check_weights(path, weights)
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: was not written by this program: its class_names are not names")
    if contents["setting"] not in SETTING_NAMES:
        raise InputError(
            f"{path}: its setting is {contents['setting'][:80]!r}, expected one of {', '.join(SETTING_NAMES)}"
        )
    config = parse_config(contents["config"], f"{path}, its config")
    try:
        check_setting(config.model.variant, contents["setting"])
    except ValueError as error:
        raise InputError(f"{path}, its config: {error}") from error
    scores, training, segments, extraction = (contents[n] for n in ("scores", "training", "segments", "extraction"))
    return Checkpoint(path, contents["setting"], weights, config, names, scores, training, segments, extraction)


def _check_weights(path: Path, weights: dict) -> None:
    for name, weight in weights.items():
        if not (
            isinstance(name, str)
            and isinstance(weight, Tensor)
            and (weight.layout, weight.device.type) == (torch.strided, "cpu")
            and weight.is_floating_point()
        ):
            raise InputError(
                f"{path}: {str(name)[:80]!r} in it is not a tensor of floating-point numbers, as weights are"
            )


def _described(variant: tuple[str, ...]) -> str:
    return f"variant {' '.join(variant)}" if variant else "the full network"


def trailer_of(digest: str) -> bytes:
    """The end of a checkpoint of ours: the zip comment with the SHA-256 of the bytes before it, in hexadecimal."""
    return struct.pack("<H", _COMMENT_SIZE) + _COMMENT + digest.encode()
