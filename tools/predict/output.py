"""Predictions as text and as plain values."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model import Prediction, TrainedNetwork


def timeline(video: Path, prediction: Prediction, model: TrainedNetwork, warning: str | None) -> str:
    """Format a prediction as text: a line per event, with its times and its probability.

    Without an event, a line says which one came nearest. ``warning`` comes before the events.
    """
    lines = [f"{video.name}, {clock(len(prediction.classes))}", *([f"  {warning}"] if warning else [])]
    width = max((len(event.name) for event in prediction.events), default=0)
    for event in prediction.events:
        span = f"{clock(event.start)} - {clock(event.end)}"
        lines.append(f"  {span:15}  {event.name:{width}}  {event.probability:.2f}")
    if not prediction.events:
        lines.append(f"  {no_event(prediction, model.class_names, model.threshold)}")
    return "\n".join(lines)


def no_event(prediction: Prediction, names: Sequence[str], threshold: float) -> str:
    """Which of the events called ``names`` comes nearest, where none is found, and why it is not one."""
    near = nearest(prediction, names)
    reason = f"event probability {near['event_probability']:.2f}, threshold {threshold:.2f}"
    if near["event_probability"] > threshold:  # weakly supervised, where background is a class
        reason = f"background is more probable than its {near['class_probability']:.2f}"
    return f"no event; the nearest is {near['name']} at {clock(near['second'])}: {reason}"


def as_json(video: Path, prediction: Prediction, model: TrainedNetwork) -> dict:
    """A prediction in plain values."""
    return {
        "video": str(video),
        "seconds": len(prediction.classes),
        "events": [event._asdict() for event in prediction.events],
        "nearest": nearest(prediction, model.class_names),
        "event_probability": prediction.event_probability.tolist(),
        "class_probability": prediction.class_probability.tolist(),
    }


def nearest(prediction: Prediction, names: Sequence[str]) -> dict:
    """The best event in the second in which an event is most probable, and both probabilities."""
    second = int(np.argmax(prediction.event_probability))
    probabilities = prediction.class_probability[second, : len(names)]  # without background
    best = int(np.argmax(probabilities))
    return {
        "name": names[best],
        "second": second,
        "event_probability": float(prediction.event_probability[second]),
        "class_probability": float(probabilities[best]),
    }


def clock(seconds: int) -> str:
    """Format a time as a player does."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
