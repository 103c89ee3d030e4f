"""Find the events in videos of any length with a trained network.

Pictures and sound go through VGG-19 and VGGish as in tools.extract_features. Give the same flags as for the features
that the network was trained on; otherwise its predictions are meaningless. For a network trained on the published AVE
features, that is --preprocessing caffe, which uses the weights of Keras's VGG-19.

A video that cannot be used is named and left out; the exit status is then 1, or 2 if none can be used.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from configs import SETTING_NAMES
from engine.device import choose_device
from engine.distributed import Ranks
from model import Prediction, TrainedMAGAN, load_magan
from tools.arguments import check_extractor_options, extractor_options, tool_parser
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.packages import require_packages
from utils.progress import Progress

if TYPE_CHECKING:
    from dataset.extraction.extractor import FeatureExtractor

log = logging.getLogger(__name__)


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("predict", __doc__, extractor_options())
    add = parser.add_argument
    add("videos", type=Path, nargs="+", metavar="VIDEO", help="video files with picture and sound")
    add(
        "--checkpoint",
        type=Path,
        required=True,
        metavar="FILE",
        help="a run's best.pth.tar, of either setting, or a published checkpoint",
    )
    add(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="an Annotations.txt whose events name the classes of a published checkpoint, which has no names",
    )
    add(
        "--segments",
        type=int,
        metavar="N",
        help="seconds of a training video (default: as the checkpoint says, or 10 for one that does not)",
    )
    add("--json", action="store_true", help="print one JSON object instead of timelines")
    add(
        "--plot",
        type=Path,
        metavar="PNG",
        help="draw frames, sound, event probability and events; with several videos, a folder for VIDEO.png",
    )
    add(
        "--render",
        type=Path,
        metavar="MP4",
        help="write the video with the events burnt in; with several videos, a folder for VIDEO.mp4",
    )
    return parser.parse_args()


def output_paths(args: argparse.Namespace) -> dict[str, list[Path | None]]:
    """Output files of each video, by flag: its picture and its rendered version.

    Raises:
        InputError: they cannot be written there.
    """
    paths = {}
    for flag, suffix in (("plot", ".png"), ("render", ".mp4")):
        asked = getattr(args, flag)
        if asked is None:
            paths[flag] = [None] * len(args.videos)
            continue
        if asked.is_dir():
            paths[flag] = [asked / f"{video.stem}{suffix}" for video in args.videos]
        elif len(args.videos) > 1:
            raise InputError(f"--{flag}: {asked} is not a directory, expected one for {len(args.videos)} videos")
        elif asked.suffix.lower() != suffix:
            raise InputError(f"--{flag}: {asked}, expected a name that ends in {suffix}, or a folder")
        else:
            paths[flag] = [asked]
        targets = [path.resolve() for path in paths[flag]]
        if len(set(targets)) < len(targets):
            raise InputError(f"--{flag}: two of the videos have one name, so one {suffix} would replace the other")
        if taken := set(targets) & {video.resolve() for video in args.videos}:
            raise InputError(f"--{flag}: {min(taken)} is one of the videos themselves")
        if not targets[0].parent.is_dir():
            raise InputError(f"--{flag}: {targets[0].parent} is not a directory")
    return paths


def load_network(args: argparse.Namespace, device: torch.device) -> TrainedMAGAN:
    """The network of ``--checkpoint``, with the names of its events."""
    from dataset.annotations import class_names, read_annotations

    names = class_names(read_annotations(args.annotations)) if args.annotations else None
    try:
        return load_magan(args.checkpoint, device, names, args.segments)
    except ValueError as error:
        raise InputError(f"{args.checkpoint}: {error}") from error


def predict(model: TrainedMAGAN, extractor: "FeatureExtractor", path: Path, frames_per_second: int) -> Prediction:
    """The events of a video."""
    from dataset.extraction.video import Video

    video = Video(path, frames_per_second)
    seconds = Progress(f"{path.name}, seconds", print_freq=10).track(video.seconds(), total=video.duration())
    visual, audio = map(np.concatenate, zip(*extractor.features(seconds, frames_per_second), strict=True))
    remarks = video.remarks()
    if len(audio) < model.segments:
        remarks.append(f"is shorter than {model.segments} s: its last second is repeated from {len(audio)} s on")
    for remark in remarks:
        log.warning("warning: %s %s", path.name, remark)
    try:
        return model.predict(visual, audio)
    except ValueError as error:
        raise InputError(f"the features of {path} do not fit the network: {error}") from error


def clock(seconds: int) -> str:
    """Format a time as a player does."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def timeline(video: Path, prediction: Prediction) -> str:
    """Format a prediction as text: a line per event, with its times and its probability."""
    lines = [f"{video.name}, {clock(len(prediction.classes))}"]
    width = max((len(event.name) for event in prediction.events), default=0)
    for event in prediction.events:
        span = f"{clock(event.start)} - {clock(event.end)}"
        lines.append(f"  {span:15}  {event.name:{width}}  {event.probability:.2f}")
    return "\n".join(lines if prediction.events else [*lines, "  no event"])


def as_json(video: Path, prediction: Prediction) -> dict:
    """A prediction in plain values."""
    return {
        "video": str(video),
        "seconds": len(prediction.classes),
        "events": [event._asdict() for event in prediction.events],
        "event_probability": prediction.event_probability.tolist(),
        "class_probability": prediction.class_probability.tolist(),
    }


def unusable(problems: Sequence[str]) -> InputError:
    """The error that ends the command if no video can be used."""
    if len(problems) == 1:
        return InputError(problems[0])
    listing = "\n".join(f"  {problem}" for problem in problems)
    return InputError(f"none of the {len(problems)} videos can be used:\n{listing}")


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    check_extractor_options(args)
    require_packages("av", *(["matplotlib"] if args.plot or args.render else []))
    from dataset.extraction.extractor import FeatureExtractor  # needs PyAV
    from dataset.extraction.video import VideoError, read_sound

    if not any(video.is_file() for video in args.videos):
        raise unusable([f"{video}: not a file" for video in args.videos])
    paths = output_paths(args)
    device = choose_device(args.gpu, Ranks())
    model = load_network(args, device)
    extractor = FeatureExtractor(args.weights, args.preprocessing, device, args.batch_size)

    described, problems = [], []
    for video, plot, render in zip(args.videos, paths["plot"], paths["render"], strict=True):
        try:
            if not video.is_file():
                raise VideoError("not a file")
            prediction = predict(model, extractor, video, args.frames_per_second)
            if args.json:
                described.append(as_json(video, prediction))
            else:
                print(timeline(video, prediction), flush=True)
            if plot:
                from tools.predict.event_plot import plot_events

                plot_events(plot, video, read_sound(video), prediction, model)
            if render:
                from tools.predict.event_video import render_events

                render_events(render, video, prediction)
        except VideoError as error:
            problems.append(f"{video}: {error}")
            if len(problems) < len(args.videos):  # otherwise the error at the end says it
                log.warning("warning: %s", problems[-1])
    if len(problems) == len(args.videos):
        raise unusable(problems)
    if args.json:
        network = model.network
        print(
            json.dumps(
                {
                    "checkpoint": str(args.checkpoint),
                    "setting": SETTING_NAMES[network.setting],
                    "scope": network.config.scope,
                    "event_threshold": network.config.event_threshold,
                    "class_names": model.class_names,
                    "videos": described,
                },
                indent=2,
            )
        )
    if problems:
        listing = "\n".join(f"  {problem}" for problem in problems)
        log.warning("%d of %d videos cannot be used:\n%s", len(problems), len(args.videos), listing)
        raise SystemExit(1)


if __name__ == "__main__":
    run_command(main)
