"""Loss and accuracy of an epoch, summed on the device."""

import torch
from torch import Tensor

from engine.device.distributed import Ranks
from utils.arithmetic import decision_device


class EpochSums:
    """Sums over the batches of an epoch, in one tensor on the ``decision_device`` until they are read.

    The sums are: each loss term times videos, ``correct`` and ``total`` decisions, and ``videos``. Reading them adds
    them up over all ranks, which must read them at the same time.
    """

    def __init__(self, device: torch.device, ranks: Ranks) -> None:
        self.device = decision_device(device)
        self.ranks = ranks
        self.start: dict[str, float] = {}
        self.names: list[str] = []
        self.sums: Tensor | None = None  # float64; stays at its address, which a captured step writes to

    def restart(self, sums: dict[str, float]) -> None:
        """Begin an epoch with ``sums`` over all ranks; they are empty if it has no batch yet."""
        self.start = sums
        if self.sums is not None:
            own = sums if self.ranks.is_main else {}
            for name, total in zip(self.names, self.sums, strict=True):
                total.fill_(own.get(name, 0.0))

    def add(self, terms: dict[str, Tensor], correct: Tensor, videos: int) -> None:
        """Add a batch: its mean loss terms, whether each decision is correct, and its number of videos."""
        if self.sums is None:
            self.names = [*terms, "correct", "total", "videos"]
            self.sums = torch.empty(len(self.names), dtype=torch.float64, device=self.device)
            self.restart(self.start)
        means = torch.stack([term.detach() for term in terms.values()])
        self.sums[:-3].add_(means.to(self.device), alpha=videos)
        self.sums[-3].add_(correct.sum())
        self.sums[-2].add_(correct.numel())
        self.sums[-1].add_(videos)

    def as_floats(self) -> dict[str, float]:
        """The sums, read from the device in one copy."""
        if self.sums is None:
            return self.start
        return dict(zip(self.names, self.ranks.all_reduce_sum(self.sums.clone()).tolist(), strict=True))

    def means(self) -> dict[str, float]:
        """The mean of each loss term over videos, and ``accuracy``, the percentage of correct decisions."""
        sums = self.as_floats().copy()
        correct, total, videos = (sums.pop(name) for name in ("correct", "total", "videos"))
        return {**{name: value / videos for name, value in sums.items()}, "accuracy": 100 * correct / total}
