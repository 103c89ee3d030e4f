"""Resuming a run: with which hyperparameters, in which folder, and on which data."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs import AUTO, PUBLISHED_VALUES, Config, Options, load_config
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

    A published checkpoint is evaluated as it was trained: scope ``batch``, float64, test batches of 16.

    Raises:
        InputError: a value is bad, or differs from that of the run to resume.
    """
    flags = options.overrides
    if checkpoint and checkpoint.published and options.evaluate:
        config = load_config(options.config or options.default_config).with_values(PUBLISHED_VALUES, "published values")
        log.info(
            "%s: in the authors' format. Their network was trained and evaluated in float64, with attention over the "
            "whole batch and test batches of 16 in test order; this evaluation does the same unless a flag differs",
            checkpoint.path,
        )
        for name in PUBLISHED_VALUES.keys() & flags.keys():
            if flags[name] != PUBLISHED_VALUES[name]:
                log.warning("warning: --%s %s is not as published (%s)", name, flags[name], PUBLISHED_VALUES[name])
    elif checkpoint and checkpoint.config and (resumes or options.evaluate) and not options.config:
        config = checkpoint.config
    else:
        config = load_config(options.config or options.default_config)

    resolved = config.with_values(flags, "command line")
    if resumes and checkpoint and checkpoint.config:
        _check_hyperparameters(checkpoint.path, checkpoint.config, resolved)
    return resolved


def _check_hyperparameters(path: Path, before: Config, after: Config) -> None:
    old, new = ({**config.as_dict()["model"], **config.as_dict()["training"]} for config in (before, after))
    for name in old:
        if old[name] != new[name] and name not in CHANGEABLE:
            raise InputError(
                f"{path} was trained with {name} {old[name]}, not {new[name]}: a run is resumed with its own "
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
