"""The progress of a run, as checkpoints keep it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_BEST = ("best_on_val", "best_on_test", "best_on_names")


@dataclass
class BestEpoch:
    """The best epoch so far by one of its figures, in percent (0: none yet)."""

    epoch: int = 0
    val_accuracy: float = -1.0
    test_accuracy: float = -1.0
    val_named: float = -1.0


@dataclass
class TrainingState:
    """The progress of a run; weights, optimizer and random states are kept beside it."""

    epoch: int = 1  # the running one, from 1
    iteration: int = 0  # finished batches of this epoch
    sums: dict[str, float] = field(default_factory=dict)  # over these batches, see EpochSums
    seconds: float = 0.0  # spent on these batches
    best_on_val: BestEpoch = field(default_factory=BestEpoch)
    best_on_test: BestEpoch = field(default_factory=BestEpoch)
    best_on_names: BestEpoch = field(default_factory=BestEpoch)  # by the share of val videos that are named right

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingState":
        """The inverse of ``dataclasses.asdict``."""
        return cls(**{**values, **{name: BestEpoch(**values[name]) for name in _BEST}})
