"""Notices a network that does not learn."""

import logging
import math

import torch
from torch.func import functional_call

from dataset import AVEDataset
from model.magan import MAGAN

log = logging.getLogger(__name__)

STEPS = 100  # before which no run is judged
NEAR, STILL = 0.0025, 0.0005  # relative difference from the loss of alike scores, and from the epoch before


class LearningWatch:
    """Warns once if the loss stands where all classes score alike, which means that the network learns none of them.

    Of ``dataset``, the training videos, only a label is read.
    """

    def __init__(self, model: MAGAN, dataset: AVEDataset) -> None:
        self.model, self.dataset = model, dataset
        self.before = math.inf  # the class loss of the last epoch
        self.warned = False

    def check(self, steps: int, means: dict[str, float], batch_size: int) -> None:
        """Look at an epoch that ends after ``steps`` updates of the run, with these means of its loss terms."""
        loss, before = self.class_loss(means), self.before
        self.before = loss
        if self.warned or steps < STEPS or abs(loss - before) > STILL * loss:
            return
        undecided = self.class_loss(undecided_terms(self.model, self.dataset))
        if abs(loss - undecided) <= NEAR * undecided:
            self.warned = True
            log.warning(
                "warning: after %d steps, the part of the loss that compares classes stands at %.4f. Where all classes "
                "score alike it is %.4f: the network is learning none of them. Try a smaller --lr, --warmup_steps "
                "100, or batches larger than %d",
                *(steps, loss, undecided, batch_size),
            )

    def class_loss(self, terms: dict[str, float]) -> float:
        """The part of the loss that compares classes, from its terms."""
        return sum(weight * terms[name] for name, weight in self.model.class_terms.items() if name in terms)


@torch.no_grad()
def undecided_terms(model: MAGAN, dataset: AVEDataset) -> dict[str, float]:
    """The loss terms of ``model`` where all classes score alike, as they do if the layers that score them are zero."""
    config, labels = model.config, dataset.labels[:1]
    like = next(model.parameters())
    zeros = {}
    for name, parameter in model.named_parameters():
        layer = name.split(".")[-2]
        if layer == "event" or layer.endswith("_events"):
            zeros[name] = torch.zeros_like(parameter)
    visual = like.new_zeros(1, dataset.num_segments, 1, 1, config.visual_dim)
    audio = like.new_zeros(1, dataset.num_segments, config.audio_dim)
    training = model.training
    model.eval()  # without dropout, which would draw random numbers of the run
    terms = model.loss(functional_call(model, zeros, (visual, audio)), labels.to(like))
    model.train(training)
    return {name: term.item() for name, term in terms.items()}
