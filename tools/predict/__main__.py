"""Find the events in videos of any length with a trained network.

Pictures and sound become features as in tools.extract_features, by the networks that made the features that this one
was trained on, if its checkpoint knows them; for the authors' checkpoint, VGG-19 with Keras's weights, and VGGish.

A video that cannot be used is named and left out; the exit status is then 1, or 2 if none can be used. Names that begin
with a hyphen go after --.
"""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from configs import SETTING_NAMES
from dataset.extraction.record import choose_settings, networks_of
from engine.device.choice import choose_device
from engine.device.distributed import Ranks
from engine.evaluation.measures import from_columns
from engine.evaluation.summary import localization_warning
from model import Prediction, TrainedNetwork, load_network
from tools.arguments import extractor_options, positive, tool_parser
from tools.predict.event_files import as_tsv, as_vtt
from tools.predict.output import as_json, timeline
from utils.atomic import write_text
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.packages import require_packages
from utils.progress import Progress

if TYPE_CHECKING:
    from dataset.extraction.extractor import FeatureExtractor

log = logging.getLogger(__name__)

INDEX = "index.html"
SECONDS_AHEAD = 4  # of video, decoded while earlier ones go through the networks


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("predict", __doc__, extractor_options())
    add = parser.add_argument
    add(
        "videos",
        type=Path,
        nargs="+",
        metavar="VIDEO",
        help="video files with picture and sound, or directories of them",
    )
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
        help="an Annotations.txt whose events name the classes (default: those of the checkpoint, or AVE's)",
    )
    add(
        "--segments",
        type=positive,
        metavar="N",
        help="seconds of a training video (default: as the checkpoint says, or 10 for one that does not)",
    )
    add("--json", action="store_true", help="print one JSON object instead of timelines")
    add(
        "--page",
        type=Path,
        metavar="HTML",
        help="write a page that plays the video beside events, probabilities and attention; with several videos, a "
        "folder for VIDEO.html and index.html",
    )
    add("--embed", action="store_true", help="put the video inside the page")
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
    add(
        "--vtt",
        type=Path,
        metavar="VTT",
        help="write the events as subtitles (WebVTT); with several videos, a folder for VIDEO.vtt",
    )
    add("--tsv", type=Path, metavar="FILE", help="write the events of all videos as a table, as DCASE and sed_eval do")
    args = parser.parse_args()
    if args.embed and not args.page:
        parser.error("--embed is for --page")
    return args


def output_paths(args: argparse.Namespace) -> dict[str, list[Path | None]]:
    """Output files of each video, by flag: its picture, its rendered version, its page and its subtitles."""
    paths = {}
    for flag, suffix in (("plot", ".png"), ("render", ".mp4"), ("page", ".html"), ("vtt", ".vtt")):
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
        if flag == "page":
            from tools.predict.browser_video import copy_of

            if asked.is_dir() and (asked / INDEX).resolve() in targets:
                raise InputError(f"--page: {INDEX} is the index of the pages: rename the video {Path(INDEX).stem}")
            targets += [copy_of(video, page.parent) for video, page in zip(args.videos, targets, strict=True)]
        if taken := set(targets) & {video.resolve() for video in args.videos}:
            raise InputError(f"--{flag}: {min(taken)} is one of the videos themselves")
        if not targets[0].parent.is_dir():
            raise InputError(f"--{flag}: {targets[0].parent} is not a directory")
    if args.tsv and (args.tsv.is_dir() or not args.tsv.absolute().parent.is_dir()):
        raise InputError(f"--tsv: {args.tsv}, expected a name in a directory that exists")
    if args.tsv and args.tsv.resolve() in {video.resolve() for video in args.videos}:
        raise InputError(f"--tsv: {args.tsv} is one of the videos themselves")
    if args.tsv and len({video.name for video in args.videos}) < len(args.videos):
        raise InputError("--tsv: two of the videos have one name, so that the table does not tell them apart")
    return paths


def trained_network(args: argparse.Namespace, device: torch.device) -> TrainedNetwork:
    """The network of ``--checkpoint``, with the names of its events."""
    from dataset.annotations import class_names, read_annotations

    names = class_names(read_annotations(args.annotations)) if args.annotations else None
    try:
        return load_network(args.checkpoint, device, names, args.segments)
    except ValueError as error:
        raise InputError(f"{args.checkpoint}: {error}") from error


def load_extractor(args: argparse.Namespace, model: TrainedNetwork, device: torch.device) -> "FeatureExtractor":
    """What makes features as asked for, otherwise like those that ``model`` was trained on."""
    from dataset.extraction.extractor import FeatureExtractor

    trained = model.extraction
    settings = choose_settings({**vars(args), "segments": model.segments}, trained)
    used, known = networks_of(asdict(settings)), networks_of(trained)
    if not known:
        log.info("the checkpoint does not say how its features were made: assuming %s", used)
    elif used == known:
        log.info("features are made by %s, as those that the network was trained on", used)
    else:
        differs = "warning: the network was trained on features of %s: with %s its predictions are not reliable"
        log.warning(differs, known, used)
    extractor = FeatureExtractor(settings, args.weights, device, args.batch_size)
    if used == known and trained.get("weights", extractor.fingerprint) != extractor.fingerprint:
        log.warning("warning: the network was trained on features of other weights of %s than these", used)
    return extractor


def no_localization(model: TrainedNetwork) -> str | None:
    """A sentence that says that the network does not place events, if its checkpoint knows that; val counts."""
    try:
        measures = from_columns("val", model.scores)
    except (KeyError, TypeError, ValueError):  # of another release
        return None
    warning = measures and localization_warning(measures)
    return f"{warning} It names the event of a video and does not place it." if warning else None


def predict(model: TrainedNetwork, extractor: "FeatureExtractor", path: Path, observe: bool) -> Prediction:
    """The events of a video."""
    from dataset.extraction.extractor import seconds_ahead

    video = extractor.video(path)
    progress = Progress(f"{path.name}, seconds", print_freq=10)
    seconds = progress.track(seconds_ahead(video, SECONDS_AHEAD), total=video.duration())
    try:
        prediction = model.predict_parts(extractor.features(seconds), observe)
    except ValueError as error:
        raise InputError(f"the features of {path} do not fit the network: {error}") from error
    remarks, length = video.remarks(), len(prediction.classes)
    if length < model.segments:
        remarks.append(f"is shorter than {model.segments} s: its last second is repeated from {length} s on")
    for remark in remarks:
        log.warning("warning: %s %s", path.name, remark)
    return prediction


def unusable(problems: Sequence[str]) -> InputError:
    """The error that ends the command if no video can be used."""
    if len(problems) == 1:
        return InputError(problems[0])
    listing = "\n".join(f"  {problem}" for problem in problems)
    return InputError(f"none of the {len(problems)} videos can be used:\n{listing}")


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    require_packages(
        "av", *(["matplotlib"] if args.plot or args.render or args.page else []), *(["jinja2"] if args.page else [])
    )
    from dataset.extraction.extractor import video_files  # needs PyAV
    from dataset.extraction.video import VideoError, read_sound

    args.videos = [file for path in args.videos for file in (video_files(path) if path.is_dir() else [path])]
    if not any(video.is_file() for video in args.videos):
        raise unusable([f"{video}: not a file" for video in args.videos])
    paths = output_paths(args)
    device = choose_device(args.gpu, Ranks())
    model = trained_network(args, device)
    extractor = load_extractor(args, model, device)
    warning = no_localization(model)

    described, found, problems = [], [], []
    for video, plot, render, page, vtt in zip(args.videos, *paths.values(), strict=True):
        try:
            if not video.is_file():
                raise VideoError("not a file")
            prediction = predict(model, extractor, video, observe=page is not None)
            if args.json:
                described.append(as_json(video, prediction, model))
            else:
                print(timeline(video, prediction, model, warning), flush=True)
            sound = read_sound(video) if plot or page else None
            if plot:
                from tools.predict.event_plot import plot_events

                plot_events(plot, video, sound, prediction, model.threshold)
            if render:
                from tools.predict.event_video import render_events

                render_events(render, video, prediction)
            if page:
                from tools.predict.video_page import Found, write_video_page

                shown = Found(video, sound, prediction, model.class_names, model.threshold, warning)
                write_video_page(page, shown, args.embed)
            if vtt:
                write_text(vtt, as_vtt(prediction.events))
            found.append((video.name, len(prediction.classes), prediction.events, page))
        except VideoError as error:
            problems.append(f"{video}: {error}")
            if len(problems) < len(args.videos):  # otherwise the error at the end says it
                log.warning("warning: %s", problems[-1])
    if len(problems) == len(args.videos):
        raise unusable(problems)
    if args.tsv:
        write_text(args.tsv, as_tsv((name, events) for name, _, events, _ in found))
    if args.page and args.page.is_dir():
        from tools.predict.video_page import write_index

        write_index(args.page / INDEX, found)
    if args.json:
        network = model.network
        print(
            json.dumps(
                {
                    "checkpoint": str(args.checkpoint),
                    "setting": SETTING_NAMES[network.setting],
                    "event_threshold": model.threshold,
                    "class_names": model.class_names,
                    **{name: getattr(extractor.settings, name) for name in ("preprocessing", "visual", "audio")},
                    "warning": warning,
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
