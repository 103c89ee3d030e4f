"""Accuracy of a network on a split."""

from typing import NamedTuple

import torch
from torch import Tensor

from dataset.batches import Loader
from model.magan import MAGAN
from utils.device import allow_tf32, autocast, to_device
from utils.progress import Progress


class Evaluation(NamedTuple):
    """A network's decisions on a split, in the split's order."""

    predicted: Tensor  # (n, t), classes; background is the class after the events
    truth: Tensor  # (n, t), classes
    num_events: int

    @property
    def accuracy(self) -> float:
        """Percent of all segments whose class is right."""
        return 100 * (self.predicted == self.truth).double().mean().item()

    @property
    def background(self) -> float:
        """The accuracy of always answering background."""
        return 100 * (self.truth == self.num_events).double().mean().item()


def result_line(accuracy: float) -> str:
    """How an accuracy in percent is announced."""
    return f"Evaluation results (acc): {accuracy:.4f}%."


@torch.inference_mode()
def evaluate(model: MAGAN, loader: Loader, device: torch.device, precision: str, progress: Progress) -> Evaluation:
    """Decide every segment of a split with labels per segment. Arithmetic on CUDA is full float32, without TF32."""
    model.eval()
    allow_tf32(False)
    predicted, truth = [], []
    for batch in progress.track(loader.epoch(), total=len(loader)):
        visual, audio = to_device(batch.visual, device, precision), to_device(batch.audio, device, precision)
        with autocast(device, precision):
            outputs = model(visual, audio)
        predicted.append(model.decide(outputs))
        truth.append(batch.labels.argmax(dim=-1))
    return Evaluation(torch.cat(predicted).cpu(), torch.cat(truth), model.config.num_events)
