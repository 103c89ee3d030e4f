"""The runs of a comparison: each condition, such as a variant of the network, with each seed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from configs import SCRIPTS, load_config, parse_options
from configs.variants import variants_of
from dataset import AVEFolder
from dataset.layout import training_files
from dataset.size import network_sizes
from dataset.sources import require_files
from engine.evaluation.measures import yardsticks
from model.network import NetworkConfig
from model.registry import network_class, network_config, number_of_parameters
from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error

PLAN = "compare.json"
FULL = "full"  # the name of the full network
# Flags of the entry scripts that a comparison sets itself.
OWN_FLAGS = ("--data_root", "--evaluate", "--overwrite", "--resume", "--seed", "--snapshot_pref")


class Run(NamedTuple):
    """A run of an entry script."""

    condition: str
    seed: int
    folder: Path
    command: tuple[str, ...]  # the script and its arguments
    epochs: int
    select: str = "val"  # see Condition

    @property
    def name(self) -> str:
        """The name of the run in messages."""
        return f"{self.condition}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """The file that holds all that the run has printed."""
        return self.folder.with_name(f"{self.folder.name}.log")


@dataclass(frozen=True)
class Condition:
    """One of the things that are compared."""

    flags: list[str]  # of the entry script
    epochs: int
    parameters: int  # of the network
    select: str = "val"  # "names" if the runs keep the epoch that names most videos of val right


@dataclass(frozen=True)
class Plan:
    """The runs of a comparison, as ``compare.json`` in its folder holds them.

    The first condition is the reference, from which the differences of the others are taken.
    """

    setting: str
    data_root: str
    arguments: list[str]  # of the entry script, in every run
    seeds: int  # numbered from 1
    conditions: dict[str, Condition]
    yardsticks: dict[str, dict[str, float]]  # their measures on the test split

    @property
    def reference(self) -> str:
        """The name of the first condition."""
        return next(iter(self.conditions))

    def runs(self, out: Path) -> list[Run]:
        """All runs, seed after seed, so that a comparison that is not complete has the same seeds of all conditions."""
        return [self._run(out, name, seed) for seed in range(1, self.seeds + 1) for name in self.conditions]

    def _run(self, out: Path, name: str, seed: int) -> Run:
        condition, folder = self.conditions[name], out / name / f"seed-{seed}"
        own = ("--data_root", self.data_root, "--seed", str(seed), "--snapshot_pref", str(folder), "--resume", "auto")
        command = (str(SCRIPTS[self.setting]), *self.arguments, *condition.flags, *own)
        return Run(name, seed, folder, command, condition.epochs, condition.select)

    def merged(self, earlier: "Plan", out: Path) -> "Plan":
        """The runs of this plan and of an earlier one for the same folder.

        Raises:
            InputError: they differ in more than conditions and seeds.
        """
        for name in ("setting", "data_root", "arguments"):
            before, now = getattr(earlier, name), getattr(self, name)
            if before != now:
                raise InputError(f"{out} holds a comparison with {name} {before}, not {now}: name another --out")
        conditions = earlier.conditions | self.conditions
        return replace(self, seeds=max(earlier.seeds, self.seeds), conditions=conditions)

    def write(self, out: Path) -> None:
        """Write ``compare.json``."""
        with os_error_as_input_error(out):
            out.mkdir(parents=True, exist_ok=True)
        with os_error_as_input_error(out / PLAN), atomic_write(out / PLAN) as temporary:
            temporary.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_plan(out: Path) -> Plan:
    """Read ``compare.json`` of a folder."""
    path = out / PLAN
    if not path.exists():
        raise InputError(f"{out}: has no {PLAN}, expected the --out folder of a comparison")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["conditions"] = {name: Condition(**condition) for name, condition in values["conditions"].items()}
        return Plan(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: is damaged: {error}") from error


def make_plan(
    setting: str, data_root: Path, arguments: Sequence[str], seeds: int, flags: Mapping[str, Sequence[str]]
) -> Plan:
    """Plan the runs, and check the arguments and the labels of the test split before anything runs.

    ``arguments`` of the entry script are those of every run, ``flags`` those of each condition, the reference first.

    Raises:
        InputError: an argument is one of ``OWN_FLAGS`` or compared, a value is bad, or the data cannot be read.
        SystemExit: the entry script has no such argument.
    """
    compared = {argument.partition("=")[0] for own in flags.values() for argument in own if argument.startswith("--")}
    require_files(data_root, training_files(data_root, setting))
    conditions, sizes = {}, network_sizes(data_root)
    for name, own in flags.items():
        for given, taken in ((arguments, compared.union(OWN_FLAGS)), (own, OWN_FLAGS)):
            for argument in given:
                if argument.partition("=")[0] in taken:
                    raise InputError(f"{argument}: is set by the comparison, leave it out")
        options = parse_options(__doc__, setting, "", [*arguments, *own])
        file, base = options.config or options.default_config, options.default_config
        config = load_config(file, base).with_values(options.overrides, name)
        network = network_class(config.network, setting)
        parameters = number_of_parameters(network, network_config(network, config, sizes))
        select = "names" if config.training.select == "names" else "val"
        conditions[name] = Condition(list(own), config.training.n_epoch, parameters, select)
    test = AVEFolder(data_root, NetworkConfig(**sizes), torch.float32).split("test")
    measures = yardsticks(test.labels.argmax(dim=-1).numpy(), sizes["num_events"])
    return Plan(
        setting,
        str(data_root),
        list(arguments),
        seeds,
        conditions,
        {name: values._asdict() for name, values in measures.items()},
    )


def variant_flags(names: Sequence[str], setting: str) -> dict[str, list[str]]:
    """The flags of the full network and of each variant, by name; ``A+B`` combines two, ``all`` is each one alone."""
    if "all" in names:
        names = [*variants_of(setting), *(name for name in names if name != "all")]
    return {FULL: []} | {name: ["--variant", *name.split("+")] for name in names if name != FULL}


def value_flags(texts: Sequence[str]) -> dict[str, list[str]]:
    """The flags of each combination of the values of each ``FLAG=VALUE,VALUE``, by name."""
    choices = []
    for text in texts:
        flag, _, values = text.partition("=")
        if not flag or not all(values.split(",")):
            raise InputError(f"--compare {text}: expected FLAG=VALUE,VALUE, such as lr=1e-4,3e-4")
        choices.append([(f"{flag}={value}", f"--{flag}={value}") for value in values.split(",")])
    return {
        ",".join(name for name, _ in chosen).replace("/", "_"): [flag for _, flag in chosen]  # a folder's name
        for chosen in product(*choices)
    }
