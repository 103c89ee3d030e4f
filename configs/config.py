"""The hyperparameters of a run, the network's and the training's: the contents of ``main.json`` and ``weak.json``."""

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as short_repr  # shortens a value of any size

from configs.network import PRECISIONS, MAGANConfig, check_types, require
from utils.errors import InputError, reason_of

ROOT = Path(__file__).resolve().parent.parent  # of the repository
SCRIPTS = {"supervised": ROOT / "supv_main.py", "weakly": ROOT / "weakly_main.py"}  # by setting
CONFIGS = {"supervised": ROOT / "configs/main.json", "weakly": ROOT / "configs/weak.json"}  # by setting
SETTING_NAMES = {"supervised": "fully supervised", "weakly": "weakly-supervised"}
SELECTIONS, CALIBRATIONS = ("test", "val", "names"), ("none", "val", "weak")  # of an epoch, and of its threshold
# How the published checkpoint was trained and evaluated; takes precedence over the config file.
PUBLISHED_VALUES = {"scope": "batch", "precision": "fp64", "test_batch_size": 16}

_MAX_FILE_SIZE = 1_000_000  # bytes; a config has about a thousand


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of training and evaluation.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range; the message names it and what was expected.
    """

    lr: float = 1e-4  # of Adam
    # The first steps over which the learning rate rises to lr, linearly: step s has s / warmup_steps of it.
    warmup_steps: int = field(default=0, metadata={"since": "1.1"})
    lr_milestones: tuple[int, ...] = (10, 20, 30)  # epochs after which the learning rate ...
    lr_factor: float = 0.5  # ... is multiplied by this factor
    clip_gradient: float = 0.5  # maximum norm of the gradient of all parameters together
    n_epoch: int = 200
    batch_size: int = 64
    test_batch_size: int = 16
    seed: int = 43
    precision: str = "fp32"
    select: str = "test"  # which epoch is best: by the accuracy on test or val, or by the "names" of val's videos
    # "val": each evaluated epoch has the event_threshold with the highest accuracy on val. "weak": that of the training
    # videos and their labels. "none": that of the config.
    calibrate: str = field(default="none", metadata={"since": "1.1"})
    eval_freq: int = 1  # epochs between evaluations
    num_workers: int = 2  # DataLoader processes
    print_freq: int = 10  # iterations between progress lines

    def __post_init__(self) -> None:
        if not isinstance(self.lr_milestones, (list, tuple)):
            raise TypeError(f"lr_milestones is {short_repr(self.lr_milestones)}, expected epochs, whole numbers from 1")
        object.__setattr__(self, "lr_milestones", tuple(self.lr_milestones))
        # Seed and epoch are combined into a 64-bit seed.
        check_types(
            self,
            at_least={"warmup_steps": 0, "seed": 0, "num_workers": 0},
            at_most={"seed": 2**44 - 1, "num_workers": 256},
        )
        for name in ("lr", "lr_factor", "clip_gradient"):
            require(self, name, lambda value: 0 < value <= sys.float_info.max, "more than 0")
        if not all(type(epoch) is int and epoch > 0 for epoch in self.lr_milestones):
            raise ValueError(
                f"lr_milestones is {short_repr(list(self.lr_milestones))}, expected epochs, whole numbers from 1"
            )
        require(self, "precision", lambda precision: precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        require(self, "select", lambda each: each in SELECTIONS, f"one of {', '.join(SELECTIONS)}")
        require(self, "calibrate", lambda each: each in CALIBRATIONS, f"one of {', '.join(CALIBRATIONS)}")


@dataclass(frozen=True)
class Config:
    """All hyperparameters of a run."""

    model: MAGANConfig = field(default_factory=MAGANConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def as_dict(self) -> dict:
        """The config as plain values, in the form of the config files."""
        sections = asdict(self)
        sections["training"]["lr_milestones"] = list(self.training.lr_milestones)
        sections["model"]["variant"] = list(self.model.variant)
        return sections

    def with_values(self, values: Mapping[str, object], source: str) -> "Config":
        """A copy with some values replaced, by hyperparameter name; ``source`` names their origin in error messages."""
        sections = self.as_dict()
        for name, value in values.items():
            section = "model" if name in sections["model"] else "training"
            sections[section][name] = value
        return parse_config(sections, source)


def load_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        InputError: the file is missing, not a regular file, too large or not JSON; a key is unknown; a value is bad.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe may never answer, a device never end
            raise ValueError("not a regular file")
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_SIZE + 1)
        if len(text) > _MAX_FILE_SIZE:
            raise ValueError(f"it has more than {_MAX_FILE_SIZE:,} bytes, too many for a config")
        contents = json.loads(text.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {reason_of(error) or error}") from error
    return parse_config(contents, str(path))


def parse_config(contents: object, source: str) -> Config:
    """Build the config from a dict of two sections, ``model`` and ``training``.

    A key that is newer than the first release (``since`` in its field's metadata) may be missing and takes its default.

    Raises:
        InputError: a key is unknown or missing, or a value is bad; the message begins with ``source``.
    """
    parsed = {}
    sections = {"model": MAGANConfig, "training": TrainingConfig}
    _check_keys(contents, sections, sections, source, "the config")
    for section, kind in sections.items():
        known = fields(kind)
        required = [field.name for field in known if "since" not in field.metadata]
        _check_keys(contents[section], [field.name for field in known], required, source, section)
        try:
            parsed[section] = kind(**contents[section])
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: {section}: {error}") from error
    return Config(**parsed)


def _check_keys(found: object, expected: Collection, required: Collection, source: str, where: str) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{source}: {where} is {short_repr(found)}, expected an object with {', '.join(expected)}")
    for key in found:
        if key not in expected:
            raise InputError(f"{source}: unknown key {short_repr(key)} in {where}, expected {', '.join(expected)}")
    if missing := [key for key in required if key not in found]:
        raise InputError(f"{source}: {where} lacks {', '.join(missing)}")
