"""Writing checkpoint files: the weights of a run, and the state to resume from. ``model.checkpoint`` reads them."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from configs import Config
from model.checkpoint import FORMAT, VERSION
from model.network import Network
from utils.atomic import atomic_write
from utils.errors import os_error_as_input_error


class Origin(NamedTuple):
    """Properties of the training data that a checkpoint keeps for prediction."""

    class_names: list[str]  # of the events
    segments: int  # of a video, one second each
    extraction: dict[str, Any]  # settings of tools.extract_features, if it made the features


def checkpoint_contents(
    model: Network, config: Config, origin: Origin, scores: dict[str, Any], training: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The contents of a checkpoint of ours, copied to CPU memory so that training can continue during the write."""
    contents = {
        "format": FORMAT,
        "version": VERSION,
        "setting": model.setting,
        "config": config.as_dict(),
        "event_threshold": config.training.event_threshold,
        **origin._asdict(),
        "scores": scores,
        "weights": model.state_dict(),
        **({"training": training} if training else {}),
    }
    return tree_map_only(Tensor, lambda tensor: tensor.detach().to("cpu", copy=True), contents)


def save_checkpoint(path: Path, contents: dict) -> None:
    """Write a checkpoint of ours, completely or not at all.

    Raises:
        InputError: the disk is full or cannot be written; the previous contents of ``path`` are unharmed.
    """
    with os_error_as_input_error(path), atomic_write(path) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(contents, file)
        except RuntimeError as error:  # PyTorch cannot end the archive after a write that failed
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def save_threshold(path: Path, threshold: float, scores: dict[str, Any]) -> None:
    """Replace the event threshold of a checkpoint of ours, and the measures that come with it."""
    contents = torch.load(path, map_location="cpu", weights_only=True)
    save_checkpoint(path, {**contents, "event_threshold": threshold, "scores": scores})


class BackgroundWriter:
    """Writes checkpoints in a background thread, one after the other."""

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self.pending: list[Future] = []
        self.failed = False

    def save(self, path: Path, contents: dict) -> None:
        """Queue a checkpoint; blocks while one is being written and another one waits.

        Raises:
            InputError: an earlier one could not be written.
        """
        while len(self.pending) > 1 or (self.pending and self.pending[0].done()):
            self.pending.pop(0).result()
        self.pending.append(self.thread.submit(self._write, path, contents))

    def finish(self) -> None:
        """Wait until all checkpoints are written, or raise the ``InputError`` of one that could not be."""
        while self.pending:
            self.pending.pop(0).result()

    def _write(self, path: Path, contents: dict) -> None:
        if self.failed:  # a later checkpoint must not refer to one that is missing
            return
        try:
            save_checkpoint(path, contents)
        except BaseException:
            self.failed = True
            raise
