"""The threshold of the event probability: by labels per segment of val, or by the labels of training videos alone."""

from collections.abc import Iterator

import numpy as np
import torch

from dataset import Batch
from dataset.ave import partners_of_another_event
from engine.evaluation.evaluate import Evaluation
from engine.feeds import Feed


def calibrated_threshold(evaluation: Evaluation) -> float:
    """The event probability above which segments are events, chosen for the highest segment accuracy on a split.

    It lies halfway between two neighbouring probabilities of the split; of equally good ones it is the lowest.
    """
    probability, order = evaluation.decisions.event_probability.flatten().sort(descending=True)
    truth, best = (classes.flatten()[order] for classes in (evaluation.truth, evaluation.decisions.best_class))
    # Segments that become correct less those that become wrong, with the first n of them as events.
    gain = (best == truth).int() - (truth == evaluation.num_events).int()
    gain = torch.cat([gain.new_zeros(1), gain.cumsum(0)])
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    neighbours = torch.cat([ends[:1], probability, ends[1:]])  # the threshold for n lies between n and n + 1
    threshold = (neighbours[:-1] + neighbours[1:]) / 2
    possible = (neighbours[:-1] > threshold) & (threshold > neighbours[1:])
    gain = torch.where(possible, gain, gain.min() - 1)
    return threshold[gain == gain.max()].min().item()


class PastedFeed:
    """Training videos with labels per video, in order; into each video with an event, a run of background is pasted.

    The run, of up to half of the segments, comes from the same seconds of a video without an event; if there is none,
    from the next video of the batch with another event, whose seconds do not show the event of this one. Its length,
    place and source depend on the place of the video in the data set. The labels are per segment: background where it
    is pasted and in videos without an event, the video's event elsewhere, although there may be background among it.
    """

    def __init__(self, feed: Feed, batch_size: int) -> None:
        self.feed = feed.in_order(batch_size)
        self.dataset, self.batches = feed.dataset, self.feed.batches
        is_background = self.dataset.labels[:, -1] > 0
        sources = torch.nonzero(is_background).flatten()
        self.sources = self.dataset.__getitems__(sources) if len(sources) else None
        self.dataset.close()
        random, videos, segments = np.random.default_rng(0), len(self.dataset), self.dataset.num_segments
        length = random.integers(1, max(1, segments // 2), size=(videos, 1), endpoint=True)
        start = random.integers(0, segments - length, endpoint=True)
        second = np.arange(segments)
        self.pasted = torch.from_numpy((start <= second) & (second < start + length)) & ~is_background[:, None]
        self.source = torch.from_numpy(random.integers(max(1, len(sources)), size=videos))

    def __len__(self) -> int:
        return len(self.feed)

    def epoch(self) -> Iterator[Batch]:
        """The batches, with labels (b, t, K + 1)."""
        for batch, index in zip(self.feed.epoch(), list(self.batches), strict=True):
            source = (
                self.source[index] if self.sources else partners_of_another_event(batch.labels.argmax(dim=-1).cpu())
            )
            pasted = self.pasted[index]
            if source is None:  # all videos show one event
                source, pasted = torch.arange(len(index)), torch.zeros_like(pasted)
            visual, audio = (part[source.to(part.device)] for part in (self.sources or batch)[:2])
            pasted, visual, audio = (each.to(batch.visual.device) for each in (pasted, visual, audio))
            labels = batch.labels[:, None].repeat(1, pasted.shape[1], 1)
            labels[pasted] = torch.eye(labels.shape[-1])[-1].to(labels)
            yield Batch(
                torch.where(pasted[..., None, None, None], visual, batch.visual),
                torch.where(pasted[..., None], audio, batch.audio),
                labels,
            )


def threshold_of_pasted(evaluation: Evaluation) -> float:
    """The event probability above which segments are events, by an evaluation of a ``PastedFeed``.

    It lies halfway, in logits, between what the labels say is background and the other segments. The background is that
    of videos without an event and what is pasted into the others, whose means count alike. Without any, it is 0.5.
    """
    logits = torch.logit(evaluation.decisions.event_probability, eps=1e-12)
    is_event = evaluation.truth < evaluation.num_events
    has_event = is_event.any(dim=1, keepdim=True)
    background = [logits[~is_event & which] for which in (has_event, ~has_event)]
    means = torch.stack([each.mean() for each in background if len(each)] or [-logits[is_event].mean()])
    return torch.sigmoid((means.mean() + logits[is_event].mean()) / 2).item()
