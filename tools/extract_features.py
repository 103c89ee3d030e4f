"""Make features in the AVE layout from videos: VGG-19 maps of the picture, VGGish embeddings of the sound.

The public weights are downloaded, unless --weights names a directory with them. AVE's published features were made
with Keras's VGG-19, so --preprocessing caffe comes closest to them; torchvision's weights are the default. --visual and
--audio take networks of transformers instead. The choice is kept in extraction.json beside the features, and in
checkpoints trained on them. The same command resumes an interrupted extraction.

Several machines share the work on a common disk: the same command with --shard 1/4 to --shard 4/4 there, or once with
--cluster slurm, then without, which writes the features.
"""

import argparse
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from dataset.annotations import Annotation, class_names, read_annotations
from dataset.extraction.record import choose_settings
from dataset.layout import ANNOTATIONS
from engine.device.choice import choose_device
from engine.device.distributed import Ranks
from tools.arguments import cluster_options, extractor_options, positive, tool_parser
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.packages import require_packages
from utils.progress import Progress
from utils.wording import listed

log = logging.getLogger(__name__)

JOBS = "with --cluster: jobs, each of which extracts a shard (default: 1)"


def shard(text: str) -> tuple[int, int]:
    """The value of ``--shard``, I/N with I from 1 to N."""
    number, total = map(int, text.split("/"))
    if not 1 <= number <= total:
        raise argparse.ArgumentTypeError(f"{text}, expected I/N with I from 1 to N")
    return number, total


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("extract_features", __doc__, extractor_options(), cluster_options(JOBS))
    add = parser.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="folder of video files; a file's name without suffix is its id")
    add("--out", type=Path, required=True, metavar="DIR", help="directory to write; made if needed")
    add_rows = parser.add_mutually_exclusive_group().add_argument
    lines = "an Annotations.txt whose lines are the rows (default: all videos, in alphabetical order)"
    add_rows("--annotations", type=Path, metavar="FILE", help=lines)
    add_rows("--noisy", action="store_true", help="add the videos to the data set in --out as those without an event")
    add("--segments", type=positive, default=10, metavar="N", help="seconds of a video (default: 10, as in AVE)")
    add("--dtype", choices=("float16", "float32"), default="float32", help="type of the features (default: float32)")
    alone = parser.add_mutually_exclusive_group().add_argument
    alone("--overwrite", action="store_true", help="start again and replace the features in --out")
    alone("--shard", type=shard, metavar="I/N", help="only extract the I-th of N shares of the videos")
    args = parser.parse_args()
    if args.cluster and (args.overwrite or args.shard):
        parser.error("--cluster goes with neither --overwrite nor --shard")
    return args


def submit_shards(args: argparse.Namespace) -> None:
    """Submit a job for each shard, with the other arguments of this command."""
    from tools.jobs import FOLDER, Job, submit

    _, passed = cluster_options(JOBS).parse_known_args(sys.argv[1:])
    number, jobs = args.jobs or 1, []
    for each in range(1, number + 1):
        command = ("-m", "tools.extract_features", "--shard", f"{each}/{number}", *passed)
        jobs.append(Job(f"shard {each}", command, args.out / FOLDER / f"shard-{each}.log"))
    array = submit(jobs, args.out, None, args)
    log.info("job array %s submitted; at its end, this command without --cluster writes the features", array)


def rows_to_make(args: argparse.Namespace, found: list[str]) -> tuple[list[str], list[Annotation] | None]:
    """The video id of each row, and the annotations that the rows follow, if any."""
    if args.annotations is None:
        return found, None
    if args.annotations.resolve() == (args.out / ANNOTATIONS).resolve():
        raise InputError(f"{args.annotations}: would be overwritten: keep it outside --out")
    annotations = read_annotations(args.annotations, args.segments)
    return [annotation.video_id for annotation in annotations], annotations


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    if args.cluster:
        submit_shards(args)
        return
    require_packages("av")
    from dataset.extraction.extractor import FeatureExtractor, extract_features, videos_by_id
    from dataset.extraction.store import ExtractedFeatures  # needs PyAV

    settings = choose_settings(vars(args), {})
    events = len(class_names(read_annotations(args.out / ANNOTATIONS))) if args.noisy else 0
    files = videos_by_id(args.videos)
    rows, annotations = rows_to_make(args, list(files))
    wanted = dict.fromkeys(rows)  # a video may be in several rows
    problems = {video_id: f"has no video file in {args.videos}" for video_id in wanted if video_id not in files}
    videos = {video_id: files[video_id] for video_id in wanted if video_id in files}
    if not videos:
        example = min(files)
        raise InputError(
            f"{args.videos}: has none of the videos of {args.annotations}, whose ids are {listed(list(wanted), 3)}: "
            f"expected names of files without their suffix, such as {example} for {files[example].name}"
        )

    extractor = FeatureExtractor(settings, args.weights, choose_device(args.gpu, Ranks()), args.batch_size)
    record = {**asdict(settings), "weights": extractor.fingerprint}
    store = ExtractedFeatures(args.out, record, args.overwrite, events)
    number, total = args.shard or (1, 1)
    mine = dict(list(videos.items())[number - 1 :: total])
    left = {video_id: path for video_id, path in mine.items() if not store.has(video_id, path)}
    if len(left) < len(mine):
        missing = f"; missing: {listed(list(left))}" if left else ""
        log.info("%d of %d videos were extracted before%s", len(mine) - len(left), len(mine), missing)

    progress = Progress("extracting", print_freq=1)
    problems |= extract_features(left, extractor, store, lambda decoded: progress.track(decoded, total=len(left)))
    if args.shard:
        log.info("shard %d of %d is extracted; the features are written by the call without --shard", number, total)
        return
    kept = [row for row, video_id in enumerate(rows) if video_id not in problems]
    if kept:
        chosen = [annotations[row] for row in kept] if annotations is not None else None
        store.write_layout([rows[row] for row in kept], chosen, args.dtype)
        log.info("%d rows of %d segments in %s", len(kept), args.segments, args.out)
    if problems:
        listing = "\n".join(
            f"  row {row}: {video_id} {problems[video_id]}" for row, video_id in enumerate(rows) if video_id in problems
        )
        log.warning("%d of %d videos are left out:\n%s", len(problems), len(wanted), listing)
        log.warning("The rows below each of them move up: order files made for all %d rows do not fit", len(rows))
        log.warning("Repair them and run the same command: it extracts only them; %s keeps the others", store.folder)
        raise SystemExit(1)
    store.remove()


if __name__ == "__main__":
    run_command(main)
