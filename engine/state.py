"""The progress of a run, as checkpoints keep it."""

from dataclasses import asdict, dataclass, field

from torch import Tensor

from utils.errors import InputError

# Names of two sums in the checkpoints of release 1.0.
_OLD_SUMS = {"hits": "correct", "answers": "total"}
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
    def from_dict(cls, values: object) -> "TrainingState":
        """The inverse of ``dataclasses.asdict``.

        Raises:
            InputError: ``values`` do not form a state.
        """
        sums = values.get("sums") if isinstance(values, dict) else None
        if isinstance(sums, dict):
            sums = {_OLD_SUMS.get(name, name): value for name, value in sums.items()}
            values = {**values, "sums": sums}
        if isinstance(values, dict):  # earlier releases kept less of a best epoch, and chose none by names
            values = {"best_on_names": {}, **values}
            values |= {name: asdict(BestEpoch()) | values[name] for name in _BEST if isinstance(values.get(name), dict)}
        own = asdict(cls(sums=dict.fromkeys(sums, 0.0) if isinstance(sums, dict) else {}))
        valid = same_structure(values, own) and values["epoch"] >= 1 and values["iteration"] >= 0
        if not valid or (values["iteration"] and not {"loss", "correct", "total", "videos"} <= sums.keys()):
            raise InputError("the checkpoint has no valid training state: it was not written by this program")
        best = {name: BestEpoch(**values[name]) for name in _BEST}
        return cls(**{**values, **best})


def same_structure(found: object, own: object) -> bool:
    """Whether two nested values have the same names and types, and their tensors the same shapes and dtypes."""
    if isinstance(own, Tensor):
        return isinstance(found, Tensor) and all(
            getattr(found, name) == getattr(own, name) for name in ("shape", "dtype", "layout")
        )
    if type(found) is not type(own):
        return False
    if isinstance(own, dict):
        return found.keys() == own.keys() and all(same_structure(found[name], own[name]) for name in own)
    if isinstance(own, (list, tuple)):
        return len(found) == len(own) and all(map(same_structure, found, own))
    return True
