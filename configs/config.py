"""The hyperparameters of a run: the network's and the training's, as ``main.json`` and ``weak.json`` hold them."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as shown  # a value of any size in a few words

from model.config import MAGANConfig, check_types
from utils.errors import InputError

ROOT = Path(__file__).resolve().parent.parent  # of the repository
CONFIGS = {"supervised": ROOT / "configs/main.json", "weakly": ROOT / "configs/weak.json"}  # by setting
PRECISIONS = ("fp32", "bf16", "fp64")
# How the published checkpoint was trained and scored, whatever the config says.
AS_PUBLISHED = {"scope": "batch", "precision": "fp64", "test_batch_size": 16}

_LARGEST_FILE = 1_000_000  # bytes; a config has a thousand


@dataclass(frozen=True)
class TrainingConfig:
    """How the network is trained and evaluated.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range; the message names it and what was expected.
    """

    lr: float = 1e-4  # Adam's
    lr_milestones: tuple[int, ...] = (10, 20, 30)  # after so many epochs ...
    lr_factor: float = 0.5  # ... the learning rate is multiplied by this
    clip_gradient: float = 0.5  # largest norm of the gradient of all parameters
    n_epoch: int = 200
    batch_size: int = 64
    test_batch_size: int = 16
    seed: int = 43
    precision: str = "fp32"
    select: str = "test"  # the split whose best epoch is kept
    eval_freq: int = 1  # epochs
    num_workers: int = 2  # processes that read features
    print_freq: int = 10  # iterations

    def __post_init__(self) -> None:
        if not isinstance(self.lr_milestones, (list, tuple)):
            raise TypeError(f"lr_milestones is {shown(self.lr_milestones)}, expected epochs, whole numbers from 1")
        object.__setattr__(self, "lr_milestones", tuple(self.lr_milestones))
        # With an epoch's number, a seed makes one of 64 bits.
        check_types(self, at_least={"seed": 0, "num_workers": 0}, at_most={"seed": 2**44 - 1, "num_workers": 256})
        for name in ("lr", "lr_factor", "clip_gradient"):
            if not 0 < getattr(self, name) <= sys.float_info.max:
                raise ValueError(f"{name} is {shown(getattr(self, name))}, expected more than 0")
        if not all(type(epoch) is int and epoch > 0 for epoch in self.lr_milestones):
            raise ValueError(
                f"lr_milestones is {shown(list(self.lr_milestones))}, expected epochs, whole numbers from 1"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {shown(self.precision)}, expected one of {', '.join(PRECISIONS)}")
        if self.select not in ("test", "val"):
            raise ValueError(f"select is {shown(self.select)}, expected test or val")


@dataclass(frozen=True)
class Config:
    """All hyperparameters of a run."""

    model: MAGANConfig = field(default_factory=MAGANConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def as_dict(self) -> dict:
        """Plain values, as in the config files."""
        sections = asdict(self)
        sections["training"]["lr_milestones"] = list(self.training.lr_milestones)
        return sections

    def with_values(self, values: Mapping[str, object], source: str) -> "Config":
        """A copy with ``values``, by hyperparameter name, in place of its own; ``source`` says where they are from."""
        sections = self.as_dict()
        for name, value in values.items():
            section = "model" if name in sections["model"] else "training"
            sections[section][name] = value
        return parse_config(sections, source)


def load_config(path: Path) -> Config:
    """Read a config file.

    Raises:
        InputError: it is missing, no regular file, too large or no JSON; a key is unknown or missing; a value is bad.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe may never answer, a device never end
            raise ValueError("it is no regular file")
        with path.open("rb") as file:
            text = file.read(_LARGEST_FILE + 1)
        if len(text) > _LARGEST_FILE:
            raise ValueError(f"it has more than {_LARGEST_FILE:,} bytes, too many for a config")
        contents = json.loads(text.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    return parse_config(contents, str(path))


def parse_config(contents: object, source: str) -> Config:
    """The config that a dict of two sections, ``model`` and ``training``, stands for.

    Raises:
        InputError: a key is unknown or missing, or a value is bad; the message begins with ``source``.
    """
    parsed = {}
    sections = {"model": MAGANConfig, "training": TrainingConfig}
    _check_keys(contents, sections, source, "the config")
    for section, kind in sections.items():
        _check_keys(contents[section], [field.name for field in fields(kind)], source, section)
        try:
            parsed[section] = kind(**contents[section])
        except (TypeError, ValueError) as error:
            raise InputError(f"{source}: {section}: {error}") from error
    return Config(**parsed)


def _check_keys(found: object, expected: Mapping | list, source: str, where: str) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{source}: {where} is {shown(found)}, expected an object with {', '.join(expected)}")
    for key in found:
        if key not in expected:
            raise InputError(f"{source}: unknown key {shown(key)} in {where}, expected {', '.join(expected)}")
    if missing := [key for key in expected if key not in found]:
        raise InputError(f"{source}: {where} lacks {', '.join(missing)}")
