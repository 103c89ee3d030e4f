"""The networks by name, and how one is made from a config."""

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from configs import ROOT, SCRIPTS, SETTING_NAMES, Config, load_config
from model.network import Decisions, Network, NetworkConfig
from model.supervised import SupervisedMAGAN
from model.weakly import WeaklySupervisedMAGAN
from utils.arithmetic import for_decision
from utils.errors import InputError

# The class of each setting, by the name in configs and checkpoints.
NETWORKS: dict[str, dict[str, type[Network]]] = {
    "magan": {"supervised": SupervisedMAGAN, "weakly": WeaklySupervisedMAGAN}
}


def network_class(name: str, setting: str) -> type[Network]:
    """The network that a config names: one of ``NETWORKS``, or ``my_file:MyNetwork``, a class of one's own.

    Raises:
        InputError: there is no such network, it is for the other setting, or it lacks a part of the interface.
    """
    by_setting = NETWORKS.get(name) or {(own := _own_class(name)).setting: own}
    if setting not in by_setting:
        (other,) = by_setting
        raise InputError(f"the network {name} is for {SETTING_NAMES[other]} training: use {SCRIPTS[other].name}")
    return by_setting[setting]


def _own_class(name: str) -> type[Network]:
    module, _, class_name = name.partition(":")
    if not class_name:
        known = ", ".join(NETWORKS)
        raise InputError(f"network is {name!r}, expected {known}, or my_file:MyNetwork for a class in my_file.py")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), class_name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"network {name}: cannot be imported from {here}: {error}") from error
    if not (inspect.isclass(found) and issubclass(found, Network)):
        raise InputError(f"network {name}: is not a class derived from model.network.Network")
    if missing := sorted(found.__abstractmethods__):
        raise InputError(f"network {name}: has no method {' and no method '.join(missing)}")
    if getattr(found, "setting", None) not in SETTING_NAMES:
        raise InputError(f"network {name}: its setting is not one of {', '.join(SETTING_NAMES)}")
    return found


def network_config(network: type[Network], config: Config, data: Mapping[str, int] | None = None) -> NetworkConfig:
    """The hyperparameters of a network, by the config; ``data`` has the widths and number of events that it leaves out.

    Raises:
        InputError: a key is unknown, or a value is bad.
    """
    known = [each.name for each in fields(network.Config)]
    if unknown := [name for name in config.model if name not in known]:
        raise InputError(f"{config.source}: unknown key {unknown[0]!r} in model, expected {', '.join(known)}")
    try:
        return network.Config(**{**(data or {}), **config.model})
    except (TypeError, ValueError) as error:
        raise InputError(f"{config.source}: model: {error}") from error


def make_network(network: type[Network], config: NetworkConfig, source: str) -> Network:
    """Make a network; an ``InputError`` that begins with ``source`` says why it cannot be made."""
    try:
        return network(config)
    except (ValueError, TypeError) as error:
        raise InputError(f"{source}: {error}") from error


def recognized(weights: Mapping[str, Tensor]) -> type[Network] | None:
    """The network whose published checkpoint has these weights, by the authors' names."""
    return next((each for pair in NETWORKS.values() for each in pair.values() if each.recognizes(weights)), None)


def published_config(network: type[Network]) -> Config:
    """The config that scores a published checkpoint as its authors do."""
    path = ROOT / "configs" / network.published_config
    return load_config(path).with_values(network.published_values, "published values")


def number_of_parameters(network: type[Network], config: NetworkConfig) -> int:
    """Count the parameters of a network without making it."""
    with torch.device("meta"):  # shapes without values
        return sum(parameter.numel() for parameter in network(config).parameters())


@torch.no_grad()
def check_network(network: Network, segments: int) -> None:
    """Try a network of one's own, in evaluation mode, on two videos of zeros.

    Raises:
        InputError: names the output, decision or loss that is not what the interface asks for.
    """
    config, like, videos = network.config, next(network.parameters()), 2
    visual = like.new_zeros(videos, segments, 7, 7, config.visual_dim)
    audio = like.new_zeros(videos, segments, config.audio_dim)
    labels = like.new_zeros(videos, *([segments] if network.setting == "supervised" else []), config.num_events + 1)
    labels[..., -1] = 1
    training = network.training
    network.eval()
    with torch.random.fork_rng(devices=[] if like.device.type == "cpu" else [like.device]):
        outputs = network(visual, audio)
        loss, decisions = network.loss(outputs, labels), network.decisions(for_decision(outputs))
    network.train(training)
    if problem := _loss_problem(loss) or _decisions_problem(decisions, (videos, segments), config.num_events):
        raise InputError(f"network {type(network).__name__}: {problem}")


def _loss_problem(loss: object) -> str | None:
    if not isinstance(loss, Mapping) or next(iter(loss), None) != "loss":
        return "loss() gives no dict whose first name is 'loss'"
    for name, term in loss.items():
        if not isinstance(term, Tensor) or term.ndim:
            return f"loss() gives {name} of shape {tuple(getattr(term, 'shape', ()))}, expected a scalar tensor"
    return None


def _decisions_problem(decisions: object, segments: tuple[int, int], num_events: int) -> str | None:
    if not isinstance(decisions, Decisions):
        return f"decisions() gives a {type(decisions).__name__}, expected model.network.Decisions"
    event, classes = decisions
    for name, each in decisions._asdict().items():
        if not isinstance(each, Tensor) or each.dtype != torch.float64:
            return f"decisions() gives {name} of type {getattr(each, 'dtype', type(each).__name__)}, expected float64"
    if event.shape != segments:
        return f"decisions() gives event_probability of shape {tuple(event.shape)}, expected (videos, segments)"
    if classes.shape[:-1] not in (segments[:1], segments) or classes.shape[-1] not in (num_events, num_events + 1):
        return (
            f"decisions() gives class_probability of shape {tuple(classes.shape)}, expected (videos, classes) or "
            f"(videos, segments, classes) with {num_events} events, or {num_events + 1} classes with background"
        )
    return None
