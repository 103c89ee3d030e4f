"""Resuming a run: with which hyperparameters, in which folder, and on which data."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import AUTO, Config, Options, load_config
from engine.run_folder import RunFolder
from model.checkpoint import Checkpoint
from utils.errors import InputError

log = logging.getLogger(__name__)

# Hyperparameters that do not affect the results of the remaining epochs.
CHANGEABLE = {"n_epoch", "num_workers", "print_freq"}


def checkpoint_to_load(options: Options, run: RunFolder) -> Path | None:
    """The file that ``--resume`` names; for ``auto``, ``last.pth.tar`` of the run folder if it exists."""
    if options.resume != AUTO:
        return options.resume
    return run.last if run.last.exists() else None


def folder_to_resume(last: Path, requested: Path | None) -> RunFolder:
    """The run folder that ``last`` belongs to.

    Raises:
        InputError: the file is a copy outside its folder, or ``requested`` (``--snapshot_pref``) is another folder.
    """
    run = RunFolder(last.parent)
    if last.name != run.last.name or not run.config.exists():
        raise InputError(
            f"{last} belongs to a run, which is resumed in its own folder from {run.last.name}, beside "
            f"{run.config.name} and the other files of the run: put it back there"
        )
    if requested and requested.resolve() != last.resolve().parent:
        raise InputError(
            f"{last} is resumed in its own folder, not in {requested}: leave --snapshot_pref out, or copy the folder"
        )
    return run


def resolve_config(options: Options, checkpoint: Checkpoint | None, resumes: bool) -> Config:
    """Flags over the checkpoint's own config if it is evaluated or resumed, else over the config file.

    A published checkpoint is evaluated as its authors do.

    Raises:
        InputError: a value is bad.
    """
    flags = options.overrides
    if checkpoint and checkpoint.published and options.evaluate:
        config, values = checkpoint.config, checkpoint.network_class().published_values
        said = ", ".join(f"{name} {value}" for name, value in values.items())
        log.info(
            "%s: in the authors' format, and evaluated as they trained and evaluated it (%s) unless a flag differs",
            *(checkpoint.path, said),
        )
        for name in values.keys() & flags.keys():
            if flags[name] != values[name]:
                log.warning("warning: --%s %s is not as published (%s)", name, flags[name], values[name])
    elif checkpoint and (resumes or options.evaluate) and not options.config:
        config = checkpoint.config
    else:
        config = load_config(options.config or options.default_config, options.default_config)
    return config.with_values(flags, "command line")


def check_hyperparameters(path: Path, before: Config, after: Config) -> None:
    """An ``InputError`` if a run would not resume with its own hyperparameters; both configs are resolved."""
    old, new = (
        {"network": each["network"], **each["model"], **each["training"]}
        for each in (before.as_dict(), after.as_dict())
    )
    for name in old:
        if old[name] != new.get(name) and name not in CHANGEABLE:
            raise InputError(
                f"{path} was trained with {name} {old[name]}, not {new.get(name)}: a run is resumed with its own "
                f"hyperparameters, only {', '.join(sorted(CHANGEABLE))} may change"
            )


def check_fingerprint(training: Mapping[str, Any], now: Mapping[str, Any], data_root: Path) -> None:
    """An ``InputError`` if a run would not resume on the data and with the number of processes it began with."""
    before = {name: training.get(name) for name in now}
    if before["data"] != now["data"]:
        raise InputError(
            f"{data_root} does not hold the data that the run to resume was trained on: name its folder with "
            "--data_root"
        )
    if before["processes"] != now["processes"]:
        raise InputError(
            f"the run to resume has {before['processes']} processes, not {now['processes']}: start as many"
        )
