"""Predictions as text and as plain values."""

from pathlib import Path

import numpy as np

from model import Prediction, TrainedMAGAN


def timeline(video: Path, prediction: Prediction, model: TrainedMAGAN, warning: str | None) -> str:
    """Format a prediction as text: a line per event, with its times and its probability.

    Without an event, a line says which one came nearest. ``warning`` comes before the events.
    """
    lines = [f"{video.name}, {clock(len(prediction.classes))}", *([f"  {warning}"] if warning else [])]
    width = max((len(event.name) for event in prediction.events), default=0)
    for event in prediction.events:
        span = f"{clock(event.start)} - {clock(event.end)}"
        lines.append(f"  {span:15}  {event.name:{width}}  {event.probability:.2f}")
    if not prediction.events:
        near = nearest(prediction, model)
        threshold = model.network.config.event_threshold
        reason = f"event probability {near['event_probability']:.2f}, threshold {threshold:.2f}"
        if near["event_probability"] > threshold:  # weakly supervised, where background is a class
            reason = f"background is more probable than its {near['class_probability']:.2f}"
        lines.append(f"  no event; the nearest is {near['name']} at {clock(near['second'])}: {reason}")
    return "\n".join(lines)


def as_json(video: Path, prediction: Prediction, model: TrainedMAGAN) -> dict:
    """A prediction in plain values."""
    return {
        "video": str(video),
        "seconds": len(prediction.classes),
        "events": [event._asdict() for event in prediction.events],
        "nearest": nearest(prediction, model),
        "event_probability": prediction.event_probability.tolist(),
        "class_probability": prediction.class_probability.tolist(),
    }


def nearest(prediction: Prediction, model: TrainedMAGAN) -> dict:
    """The best event in the second in which an event is most probable, and both probabilities."""
    second = int(np.argmax(prediction.event_probability))
    probabilities = prediction.class_probability[second, : len(model.class_names)]  # without background
    best = int(np.argmax(probabilities))
    return {
        "name": model.class_names[best],
        "second": second,
        "event_probability": float(prediction.event_probability[second]),
        "class_probability": float(probabilities[best]),
    }


def clock(seconds: int) -> str:
    """Format a time as a player does."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
