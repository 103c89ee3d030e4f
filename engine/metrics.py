"""Loss and accuracy of an epoch, summed on the device."""

import torch
from torch import Tensor

from engine.distributed import Ranks


class EpochSums:
    """Sums over the batches of an epoch, which stay on the device until they are read.

    The sums are: each loss term times videos, ``correct`` and ``total`` decisions, and ``videos``.

    Args:
        sums: initial values, over all ranks.
        device: where they are kept.
        ranks: reading the sums adds them up over all ranks, which must read them at the same time.
    """

    def __init__(self, sums: dict[str, float], device: torch.device, ranks: Ranks) -> None:
        self.ranks = ranks
        self.sums = {
            name: torch.tensor(value if ranks.is_main else 0.0, dtype=torch.float64, device=device)
            for name, value in sums.items()
        }

    def add(self, terms: dict[str, Tensor], correct: Tensor, videos: int) -> None:
        """Add a batch: its mean loss terms, whether each decision is correct, and its number of videos."""
        values = {**{name: term.detach() * videos for name, term in terms.items()}, "correct": correct.sum()}
        for name, count in (("total", correct.numel()), ("videos", videos)):  # filled on the device, not copied to it
            values[name] = torch.full((), count, dtype=torch.float64, device=correct.device)
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0) + value.double()

    def as_floats(self) -> dict[str, float]:
        """The sums, read from the device in one copy."""
        sums = self.ranks.all_reduce_sum(torch.stack(list(self.sums.values())))
        return dict(zip(self.sums, sums.tolist(), strict=True))

    def means(self) -> dict[str, float]:
        """The mean of each loss term over videos, and ``accuracy``, the percentage of correct decisions."""
        sums = self.as_floats()
        correct, total, videos = (sums.pop(name) for name in ("correct", "total", "videos"))
        return {**{name: value / videos for name, value in sums.items()}, "accuracy": 100 * correct / total}
