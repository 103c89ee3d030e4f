"""Notices a network that does not learn."""

from dataset.labels import video_events
from engine.evaluation import Evaluation

STEPS, VIDEOS = 100, 2  # updates of a run, and videos with an event for each event, before which nothing is judged


def learns_nothing(evaluation: Evaluation, steps: int) -> bool:
    """Whether a network names no more events of a split right than one guess for all videos, after so many updates."""
    events = video_events(evaluation.truth, evaluation.num_events)
    counts = events.bincount(minlength=evaluation.num_events + 1)[:-1]
    right = (evaluation.decisions.named(evaluation.num_events) == events).sum()
    enough = steps >= STEPS and counts.sum() >= VIDEOS * evaluation.num_events and counts.max() < counts.sum()
    return bool(enough and right <= counts.max())
