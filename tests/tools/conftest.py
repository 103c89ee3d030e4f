"""What the tests of the tools that read videos share: seeded weights, footage with known events, its features."""

import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from dataset.annotations import Annotation
from dataset.extraction.vgg19 import VGG19
from dataset.extraction.vggish import VGGish
from dataset.extraction.weights import KERAS
from tests.processes import Process, finished
from tests.videos import grey, silence, stripes, tone, write_video
from tests.weights import NAMINGS, keras_weights, write_keras

SEGMENTS = 5
EXTRACTION = ("--gpu", "cpu", "--segments", SEGMENTS, "--frames_per_second", 1)
# What an event looks and sounds like, by its name.
EVENTS = {"Buzzer": (stripes(16), 1500), "Horn": (grey(230), 300)}
SPANS = ((0, 2), (1, 4), (2, 5), (3, 5), (1, 3))
BAD = {
    "corrupt": "cannot be decoded",
    "mute": "has no sound",
    "blind": "has no picture",
    "brief": "is shorter than a second",
    "absent": "has no video file",
}


class Footage(NamedTuple):
    """A folder of videos, and what happens in them."""

    folder: Path
    annotations_file: Path  # in another order than the alphabet's, the bad ones among them
    good: list[Annotation]  # of the videos that can be used, in the file's order


def film(path: Path, event: str, start: int, end: int, seconds: int = SEGMENTS) -> Path:
    """A video of a dark, silent room, where an event happens from ``start`` to ``end``."""
    picture, hertz = EVENTS[event]
    dark = grey(20)
    return write_video(
        path,
        seconds,
        lambda time: picture if start <= int(time + 1e-9) < end else dark,
        tone(hertz, *range(start, end)),
    )


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """A folder with weights for VGG-19 and VGGish under the public names; random ones, which keep the signal's size."""
    folder = tmp_path_factory.mktemp("weights")
    random = torch.Generator().manual_seed(0)
    for name, network in {"vgg19-dcbb9e9d.pth": VGG19(), "vggish-10086976.pth": VGGish()}.items():
        state = {}
        for key, value in network.state_dict().items():
            scale = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.05
            state[key] = (scale * torch.randn(value.shape, generator=random)).half()
        if name.startswith("vgg19"):
            state["classifier.0.weight"] = torch.zeros(1, 1)  # the public file has a classifier
        torch.save(state, folder / name)
    write_keras(folder / KERAS, keras_weights(), NAMINGS[0])
    return folder


@pytest.fixture(scope="session")
def footage(tmp_path_factory) -> Footage:
    """Ten videos with an event, a silent one, and some that cannot be used."""
    folder = tmp_path_factory.mktemp("footage")
    lines, good = [], []
    for number, (start, end) in enumerate(2 * SPANS):
        event = list(EVENTS)[number % 2]
        good.append(Annotation(event, f"{event[0].lower()}-{9 - number}", "good", start, end))
        film(folder / f"{good[-1].video_id}.mp4", *(event, start, end))
    good.append(Annotation("Horn", "silent", "good", 0, 0))
    write_video(folder / "silent.mkv", SEGMENTS, lambda _: grey(20), silence, sound_codec="flac")

    write_video(folder / "mute.mp4", SEGMENTS, lambda _: grey(20), None)
    write_video(folder / "blind.mp4", SEGMENTS, None, silence)
    write_video(folder / "brief.mp4", 0.5, lambda _: grey(20), silence)
    (folder / "corrupt.mp4").write_bytes((folder / f"{good[0].video_id}.mp4").read_bytes()[:3000])
    (folder / "notes.txt").write_text("not a video")
    bad = [Annotation("Horn", video_id, "bad", 0, 1) for video_id in BAD]
    for annotation in (*bad[:3], *good, *bad[3:], good[0]._replace(event="Buzzer")):
        lines.append("&".join(map(str, annotation)) + "\n")
    annotations_file = tmp_path_factory.mktemp("annotations") / "Annotations.txt"
    annotations_file.write_text("".join(lines))
    return Footage(folder, annotations_file, [*good, good[0]._replace(event="Buzzer")])


class Extraction(NamedTuple):
    """A folder of features that was stopped once and then went on, and what the second call said."""

    folder: Path
    stopped: str  # what the first call said
    after: subprocess.CompletedProcess  # the second call


@pytest.fixture(scope="session")
def extraction(tmp_path_factory, footage, weights) -> Extraction:
    """The features of the footage. Read them, do not change them."""
    out = tmp_path_factory.mktemp("extraction") / "features"
    command = [
        *("tools.extract_features", footage.folder, "--out", out),
        *("--annotations", footage.annotations_file, "--weights", weights, *EXTRACTION),
    ]
    with Process(*command) as process:
        said = process.read_until("extracting [5/")
        process.send_signal(signal.SIGINT)
        said += process.stderr.read()
    assert process.returncode == 130, said
    assert not list(out.glob("*.h5*")), "half of the rows look like all of them"
    return Extraction(out, said, finished(*command))
