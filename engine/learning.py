"""Notices a network that does not learn."""

import numpy as np

from engine.evaluation import Evaluation
from engine.evaluation.measures import video_events

STEPS, VIDEOS = 100, 2  # updates of a run, and videos with an event for each event, before which nothing is judged


def learns_nothing(evaluation: Evaluation, steps: int) -> bool:
    """Whether a network names no more events of a split right than one guess for all videos, after so many updates."""
    events = video_events(evaluation.truth.numpy(), evaluation.num_events)
    counts = np.bincount(events, minlength=evaluation.num_events + 1)[:-1]
    right = int((evaluation.decisions.named(evaluation.num_events).numpy() == events).sum())
    enough = steps >= STEPS and counts.sum() >= VIDEOS * evaluation.num_events and counts.max() < counts.sum()
    return bool(enough and right <= counts.max())
