"""The hyperparameters of a run, the network's and the training's: the contents of ``main.json`` and ``weak.json``."""

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from reprlib import repr as short_repr  # shortens a value of any size
from typing import Any

from configs.values import check_types, require
from utils.errors import InputError, reason_of

ROOT = Path(__file__).resolve().parent.parent  # of the repository
SCRIPTS = {"supervised": ROOT / "supv_main.py", "weakly": ROOT / "weakly_main.py"}  # by setting
CONFIGS = {"supervised": ROOT / "configs/main.json", "weakly": ROOT / "configs/weak.json"}  # by setting
SETTING_NAMES = {"supervised": "fully supervised", "weakly": "weakly-supervised"}
SCOPES, PRECISIONS = ("video", "batch"), ("fp32", "bf16", "fp64")
SELECTIONS, CALIBRATIONS = ("test", "val", "names"), ("none", "val", "weak")  # of an epoch, and of its threshold

_SECTIONS = ("network", "model", "training")


def _value(default: Any, help: str, choices: Sequence[str] | None = None) -> Any:
    """A field with its help, which ``--help`` prints."""
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class TrainingConfig:
    """Hyperparameters of training and evaluation; each is a flag of the entry scripts, too.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a value out of range; the message names it and what was expected.
    """

    lr: float = _value(1e-4, "learning rate of Adam")
    warmup_steps: int = _value(0, "first steps over which the learning rate rises linearly: step s has s / N of it")
    lr_milestones: tuple[int, ...] = _value((10, 20, 30), "epochs after which the learning rate is multiplied ...")
    lr_factor: float = _value(0.5, "... by this factor")
    clip_gradient: float = _value(0.5, "largest norm of the gradient of all parameters together")
    n_epoch: int = _value(200, "epochs")
    batch_size: int = _value(64, "videos in a training batch")
    test_batch_size: int = _value(16, "videos in an evaluation batch")
    seed: int = _value(43, "seed of all random numbers")
    precision: str = _value("fp32", "arithmetic; fp64 is as published", PRECISIONS)
    select: str = _value(
        "test",
        "keep the epoch with the best accuracy on test, as published, or on val; names: the one that names most events "
        "of val right, for which video labels suffice",
        SELECTIONS,
    )
    event_threshold: float | None = _value(
        None, "a segment is an event above this probability (default: the network's own)"
    )
    calibrate: str = _value(
        "none",
        "after training, give the kept epoch another event threshold: the one with the highest accuracy on val, or "
        "weak, one by the labels of the training videos",
        CALIBRATIONS,
    )
    eval_freq: int = _value(1, "epochs between evaluations; the last one is always evaluated")
    num_workers: int = _value(2, "processes that read features; 0 reads in the main process")
    print_freq: int = _value(10, "iterations between progress lines")

    def __post_init__(self) -> None:
        milestones = self.lr_milestones
        expected = "expected epochs, whole numbers from 1"
        if not isinstance(milestones, (list, tuple)):
            raise TypeError(f"lr_milestones is {short_repr(milestones)}, {expected}")
        object.__setattr__(self, "lr_milestones", tuple(milestones))
        if not all(type(epoch) is int and epoch > 0 for epoch in milestones):
            raise ValueError(f"lr_milestones is {short_repr(list(milestones))}, {expected}")
        # Seed and epoch are combined into a 64-bit seed.
        check_types(
            self,
            at_least={"warmup_steps": 0, "seed": 0, "num_workers": 0},
            at_most={"seed": 2**44 - 1, "num_workers": 256},
        )
        for name in ("lr", "lr_factor", "clip_gradient"):
            require(self, name, lambda value: 0 < value <= sys.float_info.max, "more than 0")
        if self.event_threshold is not None:
            valid = "more than 0 and less than 1"
            require(self, "event_threshold", lambda each: type(each) in (int, float) and 0 < each < 1, valid)
        for each in fields(self):
            if choices := each.metadata["choices"]:
                require(
                    self, each.name, lambda value, choices=choices: value in choices, f"one of {', '.join(choices)}"
                )


@dataclass(frozen=True)
class Config:
    """All hyperparameters of a run.

    ``model`` holds those of the network by name. Those that it leaves out have the network's defaults, or come from the
    data.
    """

    network: str = "magan"  # see model.registry
    model: dict[str, object] = field(default_factory=dict)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    source: str = field(default="the config", compare=False)  # its origin, for error messages

    def as_dict(self) -> dict:
        """The config as plain values, in the form of the config files."""
        sections = {"model": self.model, "training": asdict(self.training)}
        for section, values in sections.items():
            sections[section] = {name: list(each) if isinstance(each, tuple) else each for name, each in values.items()}
        return {"network": self.network, **sections}

    def with_values(self, values: Mapping[str, object], source: str) -> "Config":
        """A copy with some values replaced, by hyperparameter name; ``source`` names their origin in error messages."""
        sections = self.as_dict()
        for name, value in values.items():
            section = "training" if name in sections["training"] else "model"
            sections[section][name] = value
        return parse_config(sections, source if values else self.source)


def load_config(path: Path, base: Path | None = None) -> Config:
    """Read a config file. Training values that it leaves out are those of the file ``base``, or the defaults.

    Raises:
        InputError: the file is missing or not JSON; a key is unknown; a value is bad.
    """
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {reason_of(error) or error}") from error
    return parse_config(contents, str(path), load_config(base).training if base else TrainingConfig())


def parse_config(contents: object, source: str, base: TrainingConfig = TrainingConfig()) -> Config:
    """Build the config from a dict: the name of the ``network``, and two sections, ``model`` and ``training``.

    Training values that are left out are those of ``base``.

    Raises:
        InputError: a key is unknown, or a value is bad; the message begins with ``source``.
    """
    _check_keys(contents, _SECTIONS, source, "the config")
    network, model, training = (contents.get(key, "magan" if key == "network" else {}) for key in _SECTIONS)
    if not isinstance(network, str) or not isinstance(model, dict):
        raise InputError(
            f"{source}: network is {short_repr(network)}, model {short_repr(model)}: not a name, an object"
        )
    model = dict(model)
    if "event_threshold" in model:  # its place in releases 1.x
        training = {"event_threshold": model.pop("event_threshold"), **training}
    _check_keys(training, [each.name for each in fields(TrainingConfig)], source, "training")
    try:
        return Config(network, model, replace(base, **training), source)
    except (TypeError, ValueError) as error:
        raise InputError(f"{source}: training: {error}") from error


def _check_keys(found: object, expected: Collection[str], source: str, where: str) -> None:
    if not isinstance(found, dict):
        raise InputError(f"{source}: {where} is {short_repr(found)}, expected an object with {', '.join(expected)}")
    for key in found:
        if key not in expected:
            raise InputError(f"{source}: unknown key {short_repr(key)} in {where}, expected {', '.join(expected)}")
