"""The threshold of the event probability, chosen on a split with labels per segment."""

import torch

from engine.evaluation.evaluate import Evaluation


def calibrated_threshold(evaluation: Evaluation) -> float:
    """The event probability above which segments are events, chosen for the highest segment accuracy on a split.

    It lies halfway between two neighbouring probabilities of the split; of equally good ones it is the lowest.
    """
    probability, order = evaluation.event_probability.flatten().sort(descending=True)
    truth, best = (classes.flatten()[order] for classes in (evaluation.truth, evaluation.best_class))
    # Segments that become correct less those that become wrong, with the first n of them as events.
    gain = (best == truth).int() - (truth == evaluation.num_events).int()
    gain = torch.cat([gain.new_zeros(1), gain.cumsum(0)])
    ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
    neighbours = torch.cat([ends[:1], probability, ends[1:]])  # the threshold for n lies between n and n + 1
    threshold = (neighbours[:-1] + neighbours[1:]) / 2
    possible = (neighbours[:-1] > threshold) & (threshold > neighbours[1:])
    gain = torch.where(possible, gain, gain.min() - 1)
    return threshold[gain == gain.max()].min().item()
