"""Contribution of the picture and of the sound to what a model predicts."""

from collections.abc import Mapping

import numpy as np

from dataset import AVEFolder
from dataset.synthetic import read_truth
from engine.evaluation import Evaluation
from model.network import maps_and_curves
from tools.drawing.plots import GATES
from tools.report.statistics import Statistics


def gates_by_name(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """The curves that the network observes, (n, t) each; for MAGAN its gates of the picture, the sound and both."""
    _, curves = maps_and_curves(evaluation.observation)
    return {name: values.numpy() for name, values in curves.items()}


def swap_probabilities(
    stats: Statistics, evaluation: Evaluation, own_picture: Evaluation, own_sound: Evaluation
) -> dict[str, np.ndarray]:
    """Mean probability of the true event over the videos of each event, (K,), by what is the video's own."""
    evaluations = {"own picture, sound of another event": own_picture, "own sound, picture of another event": own_sound}
    means = {}
    for name, each in {**evaluations, "own picture and sound": evaluation}.items():
        probability = each.decisions.of_videos.numpy()
        event = np.minimum(stats.video_event, probability.shape[1] - 1)  # a video without event counts for no event
        means[name] = stats.video_mean(probability[np.arange(len(event)), event])
    return means


def bias_correlations(
    folder: AVEFolder, gates: Mapping[str, np.ndarray], swap: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """Correlation, over the events, of gates and swap probabilities with the known bias of synthetic data.

    Empty for other data. ``gates`` and ``swap``, (K,) each, are of the picture, of the sound and of both; a variant may
    have fewer gates.
    """
    bias = read_truth(folder.root, "bias", (folder.num_events,))
    if bias is None:
        return {}
    picture, sound, both = GATES
    balances = {}
    if picture in gates:
        balances["picture gate minus sound gate"] = gates[picture] - gates[sound]
    if both in gates:
        balances["multimodal gate"] = gates[both]
    if swap:
        own_picture, own_sound, _ = swap.values()
        balances["probability with the own picture minus with the own sound"] = own_picture - own_sound
    return {name: correlation(values, bias) for name, values in balances.items()}


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation over the events for which both are finite; NaN if there are fewer than three."""
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        return np.nan
    with np.errstate(invalid="ignore"):  # NaN for a constant
        return float(np.corrcoef(x[both], y[both])[0, 1])
