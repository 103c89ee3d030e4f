"""The page of a video, which plays it beside its events, probabilities and attention, and the index of such pages."""

import base64
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from urllib.parse import quote

import matplotlib
import numpy as np
from jinja2 import Environment
from matplotlib.colors import to_hex
from PIL import Image

from dataset.extraction.video import SAMPLE_RATE, is_silent
from model import Event, Prediction
from model.network import maps_and_curves
from tools.drawing.pages import data_url, templates
from tools.predict.browser_video import playable
from tools.predict.event_plot import plot_events
from tools.predict.output import clock, no_event
from tools.visualize.attention_figure import COLOURS, largest_share
from utils.atomic import write_text

CLASSES = 5  # shown in a row each
RATE = 10  # values of loudness per second
QUIETEST = -60  # dB below the loudest
QUALITY = 80  # of the picture for browsers without JavaScript


class Found(NamedTuple):
    """What a network found in a video, for its page."""

    video: Path
    sound: np.ndarray  # (n,), at 16 kHz
    prediction: Prediction  # with its observation
    names: Sequence[str]  # of the events
    threshold: float  # of the event probability
    warning: str | None = None  # what to know before one believes the rest
    truth: Sequence[Event] | None = None


def write_video_page(path: Path, found: Found, embed: bool = False) -> None:
    """Write the page of a video; ``embed`` puts the video inside. A video that browsers may not play gets a copy.

    Raises:
        VideoError: the video cannot be decoded.
    """
    with TemporaryDirectory() as folder:
        film = playable(found.video, Path(folder) if embed else path.parent)
        place = os.path.relpath(film.absolute(), path.parent.absolute())
        page = _templates().get_template("video_page.html.jinja")
        text = page.render(
            title=found.video.name,
            warning=found.warning,
            source=None if embed else quote(os.fsencode(Path(place).as_posix())),
            place=place,
            embedded=base64.b64encode(film.read_bytes()).decode() if embed else None,
            picture=data_url(_picture(found, Path(folder)), "image/webp"),
            scale=[to_hex(colour) for colour in matplotlib.colormaps[COLOURS](np.linspace(0, 1, 17))],
            nothing=None if found.prediction.events else no_event(found.prediction, found.names, found.threshold),
            data=page_data(found),
        )
    write_text(path, text)


def write_index(path: Path, videos: Iterable[tuple[str, int, Sequence[Event], Path]]) -> None:
    """Write a page that links to those of videos, given with their file names, lengths in seconds and events."""
    entries = [
        {"name": name, "seconds": seconds, "events": events, "href": quote(os.fsencode(page.name))}
        for name, seconds, events, page in videos
    ]
    write_text(path, _templates().get_template("video_index.html.jinja").render(videos=entries))


def page_data(found: Found) -> dict:
    """What the page's script draws, in plain values; arrays are base64, of 8 bits or of 16 for probabilities."""
    prediction, observation = found.prediction, found.prediction.observation
    joint = prediction.event_probability[:, None] * prediction.class_probability[:, : len(found.names)]  # (t, K)
    maps, curves = maps_and_curves(observation or {})
    most = largest_share(maps.values()) if maps else 0
    return {
        "seconds": len(prediction.classes),
        "threshold": found.threshold,
        "events": [event._asdict() for event in prediction.events],
        "truth": None if found.truth is None else [event._asdict() for event in found.truth],
        "probability": _in_16_bits(prediction.event_probability),
        "classes": [{"name": found.names[k], "values": _in_16_bits(joint[:, k])} for k in chosen_classes(found, joint)],
        "rate": RATE,
        "loudness": None if is_silent(found.sound) else _base64(loudness(found.sound, len(prediction.classes))),
        "gates": [{"name": name, "values": _in_16_bits(gate)} for name, gate in curves.items()],
        "attention": {
            name: {"height": h, "width": w, "values": _base64(255 * h * w / most * each)}
            for name, each in maps.items()
            for _, h, w in [each.shape]
        },
        "most": most,
        "colours": _base64(matplotlib.colormaps[COLOURS](np.arange(256), bytes=True)[:, :3]),
    }


def chosen_classes(found: Found, joint: np.ndarray) -> list[int]:
    """The classes that matter most, given probabilities (t, K): with most seconds of events, then the most probable."""
    seconds = np.bincount(found.prediction.classes, minlength=len(found.names))
    return sorted(range(len(found.names)), key=lambda k: (-seconds[k], -joint[:, k].max()))[:CLASSES]


def loudness(sound: np.ndarray, seconds: int) -> np.ndarray:
    """Loudness (seconds * ``RATE``,) of a sound, 0 for ``QUIETEST`` or less to 255 for the loudest."""
    sound = np.pad(sound[: seconds * SAMPLE_RATE], (0, max(0, seconds * SAMPLE_RATE - len(sound))))
    power = np.square(sound.reshape(seconds * RATE, -1)).mean(axis=1)
    level = 10 * np.log10(np.maximum(power / max(power.max(), 1e-12), 1e-12))
    return 255 * (1 - np.maximum(level, QUIETEST) / QUIETEST)


def _picture(found: Found, folder: Path) -> bytes:
    """The picture of ``--plot``, smaller than as a PNG."""
    plot_events(folder / "plot.png", found.video, found.sound, found.prediction, found.threshold)
    contents = io.BytesIO()
    with Image.open(folder / "plot.png") as picture:
        picture.convert("RGB").save(contents, "WEBP", quality=QUALITY)
    return contents.getvalue()


def _templates() -> Environment:
    environment = templates(Path(__file__).parent)
    environment.filters["clock"] = clock
    return environment


def _in_16_bits(probability: np.ndarray) -> str:
    return _base64(65535 * probability, "<u2")


def _base64(values: np.ndarray, dtype: str = "u1") -> str:
    return base64.b64encode(np.round(values).astype(dtype).tobytes()).decode()
