"""What the tests of the tools that read videos share: seeded weights, footage with known events, its features."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest
import torch

from dataset.annotations import Annotation, read_annotations, segment_labels
from dataset.extraction.vgg19 import VGG19
from dataset.extraction.vggish import VGGish
from dataset.extraction.weights import KERAS
from tests.conftest import CONFIGS, SCRIPTS, SMALL
from tests.networks import VISUAL
from tests.processes import ENVIRONMENT, ROOT, Process, finished
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


BENCHMARK = ("tools.benchmark", "--gpu", "cpu", "--json", "--precision", "fp32", "--batch_size", 2, "--seconds", 0)


@pytest.fixture(scope="session")
def benchmark_report(made_once, run) -> str:
    """What ``BENCHMARK`` prints, with a smaller square product."""

    code = (
        "from tools import benchmark; "
        "benchmark.PRODUCTS = ((1024, 1024, 1024), benchmark.PRODUCTS[1]); benchmark.main()"
    )
    return made_once("benchmark", lambda path: path.write_text(run("-c", code, *BENCHMARK[1:]).stdout)).read_text()


@pytest.fixture(scope="session")
def weights(made_once) -> Path:
    """A folder with weights for VGG-19 and VGGish under the public names; random ones, which keep the signal's size."""
    return made_once("weights", write_weights)


def write_weights(folder: Path) -> None:
    folder.mkdir()
    random = torch.Generator().manual_seed(0)
    for name, network in {"vgg19-dcbb9e9d.pth": VGG19(device="meta"), "vggish-10086976.pth": VGGish("meta")}.items():
        state = {}
        for key, value in network.state_dict().items():
            scale = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.05
            state[key] = scale * torch.randn(value.shape, generator=random)
        if name.startswith("vgg19"):
            state["classifier.0.weight"] = torch.zeros(1, 1)  # the public file has a classifier
        torch.save(state, folder / name)
    write_keras(folder / KERAS, keras_weights(), NAMINGS[0])


@pytest.fixture(scope="session")
def footage(made_once) -> Footage:
    """Ten videos with an event, a silent one, and some that cannot be used."""
    good = [
        Annotation(event, f"{event[0].lower()}-{9 - number}", "good", start, end)
        for number, (event, (start, end)) in enumerate(zip(5 * list(EVENTS), 2 * SPANS, strict=True))
    ]
    silent = Annotation("Horn", "silent", "good", 0, 0)
    twice = good[0]._replace(event="Buzzer")
    bad = [Annotation("Horn", video_id, "bad", 0, 1) for video_id in BAD]

    def write(folder: Path) -> None:
        videos = folder / "videos"
        videos.mkdir(parents=True)
        for event, video_id, _, start, end in good:
            film(videos / f"{video_id}.mp4", event, start, end)
        write_video(videos / "silent.mkv", SEGMENTS, lambda _: grey(20), silence, sound_codec="flac")
        write_video(videos / "mute.mp4", SEGMENTS, lambda _: grey(20), None)
        write_video(videos / "blind.mp4", SEGMENTS, None, silence)
        write_video(videos / "brief.mp4", 0.5, lambda _: grey(20), silence)
        (videos / "corrupt.mp4").write_bytes((videos / f"{good[0].video_id}.mp4").read_bytes()[:3000])
        (videos / "notes.txt").write_text("not a video")
        lines = ["&".join(map(str, each)) + "\n" for each in (*bad[:3], *good, silent, *bad[3:], twice)]
        (folder / "Annotations.txt").write_text("".join(lines))

    folder = made_once("footage", write)
    return Footage(folder / "videos", folder / "Annotations.txt", [*good, silent, twice])


class Extraction(NamedTuple):
    """A folder of features that was stopped once and then went on, and what the second call said."""

    folder: Path
    stopped: str  # what the first call said
    after: subprocess.CompletedProcess  # the second call


@pytest.fixture(scope="session")
def small_extraction(networks, weights) -> tuple:
    """The flags of an extraction by VGGish and a small network of pictures: VGG-19 takes half a second for each."""
    return ("--visual", networks / "resnet", "--weights", weights, *EXTRACTION)


@pytest.fixture(scope="session")
def extraction(made_once, footage, small_extraction) -> Extraction:
    """The features of the footage. Read them, do not change them."""

    def extract(folder: Path) -> None:
        out = folder / "features"
        flags = ("--annotations", footage.annotations_file, *small_extraction)
        command = ("tools.extract_features", footage.folder, "--out", out, *flags)
        with Process(*command) as process:
            said = process.read_until("extracting [5/")
            process.send_signal(signal.SIGINT)
            said += process.stderr.read()
        assert process.returncode == 130, said
        assert not list(out.glob("*.h5*")), "half of the rows look like all of them"
        after = finished(*command)
        (folder / "said.json").write_text(json.dumps([said, after.returncode, after.stdout, after.stderr]))

    folder = made_once("extraction", extract)
    stopped, *after = json.loads((folder / "said.json").read_text())
    return Extraction(folder / "features", stopped, subprocess.CompletedProcess([], *after))


@pytest.fixture
def slurm(tmp_path):
    """The variables of a process that finds the commands of Slurm, and the folder of what they got."""
    commands, calls = tmp_path / "commands", tmp_path / "calls"
    commands.mkdir()
    calls.mkdir()
    for name, answer in (("sbatch", "Submitted batch job 12"), ("scontrol", ""), ("srun", "")):
        script = commands / name
        copy = f'[ -f "$1" ] && cp "$1" "{calls}"'
        script.write_text(f'#!/bin/sh\necho "$@" >> "{calls}/{name}"\n{copy}\necho "{answer}"\n')
        script.chmod(0o755)
    return {**ENVIRONMENT, "PATH": f"{commands}:{os.environ['PATH']}"}, calls


@pytest.fixture(scope="session")
def checkpoint(made_once, run, extraction) -> Path:
    """A small supervised network that has learned the footage's events."""
    return made_once("learned", lambda folder: learn(run, extraction, folder)) / "run/best.pth.tar"


def learn(run, extraction, root: Path) -> None:
    root.mkdir()
    for name in ("visual_feature.h5", "audio_feature.h5", "Annotations.txt", "extraction.json"):
        shutil.copy(extraction.folder / name, root)
    labels = segment_labels(read_annotations(root / "Annotations.txt", 5), 5)
    for name, key, values in (
        ("right_labels", "avadataset", labels),
        ("train_order", "order", [*range(8), 10]),
        ("val_order", "order", [8]),
        ("test_order", "order", [9]),
    ):
        with h5py.File(root / f"{name}.h5", "w") as file:
            file[key] = np.asarray(values)
    config = json.loads((ROOT / "configs" / CONFIGS["supervised"]).read_text())
    config["model"] |= {"num_events": len(EVENTS), "visual_dim": VISUAL["resnet"][1], **SMALL}
    config["training"] |= {"n_epoch": 30, "eval_freq": 30, "lr": 1e-3, "batch_size": 3, "num_workers": 0}
    config["training"]["lr_milestones"] = [1000]
    (root / "config.json").write_text(json.dumps(config))
    run(
        SCRIPTS["supervised"],
        *("--gpu", "cpu", "--data_root", root, "--config", root / "config.json", "--snapshot_pref", root / "run"),
    )


@pytest.fixture(scope="session")
def clip(made_once) -> Path:
    """Twelve seconds that no network was trained on: a horn from 6 to 10 s."""

    def write(folder):
        folder.mkdir()
        film(folder / "new.mp4", "Horn", 6, 10, 12)

    return made_once("clip", write) / "new.mp4"


@pytest.fixture(scope="session")
def predicted(made_once, run, checkpoint, weights, clip) -> Path:
    """The events of the clip: a folder with all files that the command writes, and ``printed.txt``."""

    def predict(out):
        out.mkdir()
        flags = ("--checkpoint", checkpoint, "--weights", weights, *EXTRACTION, "--tsv", out / "events.tsv")
        flags += tuple(each for flag in ("plot", "render", "page", "vtt") for each in (f"--{flag}", out))
        (out / "printed.txt").write_text(run("tools.predict", clip, *flags).stdout)

    return made_once("predicted", predict)
