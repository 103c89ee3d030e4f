"""Checkpoint files: ours, with everything that a run needs to go on, and the authors', as they published them.

Ours is a ``torch.save`` archive of plain values and tensors. Its SHA-256 stands in the archive's comment, so that any
changed bit is noticed while ``torch.load`` reads the file as any other.
"""

import hashlib
import io
import pickle
import stat
import struct
import zipfile
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from configs import Config, parse_config
from model.magan import MAGAN
from model.published import from_published, is_published, published_setting
from utils.atomic import atomic_write, reported_failure
from utils.errors import InputError

FORMAT, VERSION = "magan", 1
_COMMENT = b"magan-sha256:"
_COMMENT_SIZE = len(_COMMENT) + 64
# A zip file ends with the length of its comment, two bytes, and the comment: what is neither is hashed.
_TRAILER_SIZE = 2 + _COMMENT_SIZE
NAMES = {"supervised": "fully supervised", "weakly": "weakly-supervised"}
# What a file that torch.save has written begins with: an archive, or in versions before 1.6 a pickle.
_ARCHIVE, _PICKLE = b"PK\x03\x04", b"\x80\x02"
_CONTENTS = {
    "version": int,
    "setting": str,
    "config": dict,
    "class_names": list,
    "scores": dict,
    "weights": dict,
    "training": dict,
}


@dataclass
class Checkpoint:
    """The weights of a network, and what made them.

    ``config`` and ``class_names`` are None for a published file, ``training`` is empty where a run cannot be continued.
    """

    path: Path
    setting: str
    weights: dict[str, Tensor]
    config: Config | None = None
    class_names: list[str] | None = None
    scores: dict = field(default_factory=dict)  # epoch and accuracies of these weights
    training: dict = field(default_factory=dict)  # optimizer, schedule, progress, best so far, random states

    @property
    def published(self) -> bool:
        """Whether the authors made it."""
        return self.config is None

    def load_into(self, model: MAGAN) -> None:
        """Put the weights into ``model``.

        Raises:
            InputError: they do not fit, and every parameter that does not is listed, or they are not finite.
        """
        try:
            weights = from_published(self.weights, model) if self.published else self.weights
            model.load_state_dict(weights)
        except (ValueError, RuntimeError) as error:
            raise InputError(f"{self.path}: the weights do not fit the network of the config: {error}") from error
        for name, weight in model.state_dict().items():
            if not weight.isfinite().all():
                raise InputError(f"{self.path}: is damaged: the weights {name} are not all finite")


def checkpoint_contents(
    model: MAGAN, config: Config, class_names: list[str], scores: dict, training: dict | None = None
) -> dict:
    """What a checkpoint of ours holds, copied to the CPU's memory so that training may go on while it is written."""
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "setting": model.setting,
        "scope": config.model.scope,
        "precision": config.training.precision,
        "config": config.as_dict(),
        "class_names": class_names,
        "scores": scores,
        "weights": model.state_dict(),
        **({"training": training} if training else {}),
    }
    return tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), contents)


def save_checkpoint(path: Path, contents: dict) -> None:
    """Write a checkpoint of ours, whole or not at all.

    Raises:
        InputError: the disk is full or cannot be written; what ``path`` held before is still there.
    """
    archive = io.BytesIO()
    torch.save(contents, archive)
    data = archive.getvalue()[:-2]  # ends with the length of a comment, which is none
    with reported_failure(path), atomic_write(path) as temporary:
        temporary.write_bytes(data + _trailer(_digest(data)))


class BackgroundWriter:
    """Writes checkpoints in a thread of its own, one after the other."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self.pending: list[Future] = []
        self.failed = False

    def save(self, path: Path, contents: dict) -> None:
        """Write a checkpoint soon; waits while one is written and another one waits.

        Raises:
            InputError: an earlier one could not be written.
        """
        while len(self.pending) > 1 or (self.pending and self.pending[0].done()):
            self.pending.pop(0).result()
        self.pending.append(self.thread.submit(self._write, path, contents))

    def finish(self) -> None:
        """Wait until all is written.

        Raises:
            InputError: something could not be written.
        """
        while self.pending:
            self.pending.pop(0).result()

    def _write(self, path: Path, contents: dict) -> None:
        if self.failed:  # what comes later must not say that this one is there
            return
        try:
            save_checkpoint(path, contents)
        except BaseException:
            self.failed = True
            raise


def load_checkpoint(path: Path, setting: str | None = None) -> Checkpoint:
    """Read a checkpoint of ours or of the authors. Nothing in the file is ever run.

    Args:
        path: the file.
        setting: the setting that it is wanted for; None takes either.

    Raises:
        InputError: it is missing, damaged, no checkpoint, holds code, or was made in the other setting.
    """
    data = _read(path)
    ours = data[-_TRAILER_SIZE:].startswith(_trailer(b""))
    if ours and data[-_TRAILER_SIZE:] != _trailer(_digest(data[:-_TRAILER_SIZE])):
        raise InputError(f"{path}: is damaged, its checksum does not agree with its contents: copy it again")
    try:
        if data.startswith(_ARCHIVE):
            _check_archive(data)
        contents = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: is damaged, no checkpoint, or holds code; only tensors and plain values are read"
        ) from error
    except Exception as error:  # there is no end to what a damaged file makes the reader raise
        reason = str(error).split("\n")[0][:200] or type(error).__name__
        raise InputError(f"{path}: is damaged or no checkpoint: {reason}") from error

    if is_published(contents):
        _check_weights(path, contents)
        checkpoint = Checkpoint(path, published_setting(contents), contents)
    elif isinstance(contents, dict) and contents.get("format") == FORMAT:
        if not ours:
            raise InputError(f"{path}: is damaged, its checksum is gone: copy it again")
        checkpoint = _read_ours(path, contents)
    else:
        raise InputError(f"{path}: is neither a checkpoint of this program nor one that the authors published")
    if setting not in (None, checkpoint.setting):
        raise InputError(
            f"{path}: is a {NAMES[checkpoint.setting]} checkpoint{' of the authors' if checkpoint.published else ''}, "
            f"expected a {NAMES[setting]} one; use {'supv_main.py' if setting == 'weakly' else 'weakly_main.py'}"
        )
    return checkpoint


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path}: is no file, expected a checkpoint")
        with open(path, "rb") as file:
            begin = file.read(len(_ARCHIVE))
            if not begin.startswith((_ARCHIVE, _PICKLE)):  # before gigabytes of something else are read
                raise InputError(f"{path}: is damaged or no checkpoint: it does not begin like one")
            return begin + file.read()
    except (OSError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or 'it is too large'}") from error


def _check_archive(data: bytes) -> None:
    """See that an archive holds no more than its size, and what torch.save has put there; torch.load does not ask."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("its archive is compressed")
        if damaged := archive.testzip():
            raise ValueError(f"the checksum of {damaged} in it is wrong, copy it again")


def _read_ours(path: Path, contents: dict) -> Checkpoint:
    version = contents.get("version")
    if isinstance(version, int) and version != VERSION:
        raise InputError(f"{path}: has format version {version}, this program reads version {VERSION}")
    contents = {"training": {}, **contents}  # best.pth.tar has none
    for name, kind in _CONTENTS.items():
        if not isinstance(contents.get(name), kind):
            raise InputError(f"{path}: was not written by this program: its {name} is no {kind.__name__}")
    weights, names = contents["weights"], contents["class_names"]
    _check_weights(path, weights)
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: was not written by this program: its class_names are not names")
    if contents["setting"] not in NAMES:
        raise InputError(f"{path}: its setting is {contents['setting'][:80]!r}, expected one of {', '.join(NAMES)}")
    config = parse_config(contents["config"], f"{path}, its config")
    return Checkpoint(path, contents["setting"], weights, config, names, contents["scores"], contents["training"])


def _check_weights(path: Path, weights: dict) -> None:
    for name, weight in weights.items():
        if not (
            isinstance(name, str)
            and isinstance(weight, Tensor)
            and (weight.layout, weight.device.type) == (torch.strided, "cpu")
            and weight.is_floating_point()
        ):
            raise InputError(f"{path}: {str(name)[:80]!r} in it is no tensor of floating-point numbers, as weights are")


def fits(found: object, own: object) -> bool:
    """Whether ``found`` is built as ``own`` is: the same names and types, and tensors of the same shapes and types."""
    if isinstance(own, Tensor):
        return isinstance(found, Tensor) and all(
            getattr(found, name) == getattr(own, name) for name in ("shape", "dtype", "layout")
        )
    if type(found) is not type(own):
        return False
    if isinstance(own, dict):
        return found.keys() == own.keys() and all(fits(found[name], own[name]) for name in own)
    if isinstance(own, (list, tuple)):
        return len(found) == len(own) and all(map(fits, found, own))
    return True


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _trailer(digest: bytes) -> bytes:
    return struct.pack("<H", _COMMENT_SIZE) + _COMMENT + digest
