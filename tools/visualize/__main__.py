"""Draw the attention of CMGCA in chosen videos: where the model looks, second by second, before it answers.

A picture per row shows m1, the visual spatial attention, and m2, the audio-guided one, over the regions of each
second, above truth, prediction, gates and the probability of an event. On synthetic data, where it is known which
regions hold the event, the share of the attention inside them is printed beside their share of the area, measured on
the segments of the whole split whose event fills a part of the frame.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs import SPLITS
from engine.run_folder import BEST
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.packages import require_packages

if TYPE_CHECKING:
    from engine.evaluation import Evaluation
    from tools.visualize.attention_figure import Attention

FRAME_HEIGHT = 180  # pixels


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.visualize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", type=Path, metavar="RUN_OR_CHECKPOINT", help="a run's folder or a checkpoint, ours or the authors'")
    add(
        "--rows",
        type=int,
        nargs="+",
        required=True,
        metavar="ROW",
        help="row numbers of the data, of videos of --split",
    )
    add("--split", choices=SPLITS, default="test", help="the split that they are in (default: test)")
    add("--video", type=Path, metavar="FILE", help="the raw video of the one row, to draw over its frames")
    add(
        "--data_root",
        type=Path,
        default=Path("./data"),
        metavar="DIR",
        help="features in the AVE layout (default: ./data)",
    )
    add("--gpu", default="0", metavar="N", help="CUDA device, or cpu (default: 0; without CUDA, the CPU)")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder to write attention_ROW.png to; made if it is not there (default: attention beside the checkpoint)",
    )
    args = parser.parse_args()
    if args.video and len(args.rows) > 1:
        parser.error(f"--video is the video of one row, but --rows names {len(args.rows)}")
    return args


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    require_packages("matplotlib", *(["av"] if args.video else []))

    from dataset.annotations import video_ids
    from dataset.labels import video_events  # these take seconds to import
    from engine.experiment import evaluation_of
    from engine.predictions import BACKGROUND
    from tools.report.statistics import known_regions
    from tools.visualize.attention_figure import draw_attention

    checkpoint = args.source / BEST if args.source.is_dir() else args.source
    if args.source.is_dir() and not checkpoint.exists():
        raise InputError(f"{args.source} holds no {BEST}: name a run's folder that has one, or a checkpoint")
    experiment = evaluation_of(checkpoint, args.data_root, args.gpu, args.split)
    folder, dataset = experiment.folder, experiment.folder.split(args.split)
    rows = dataset.rows.tolist()
    if unknown := [row for row in args.rows if row not in rows]:
        raise InputError(
            f"--rows: {', '.join(map(str, unknown))} not in the {args.split} split, which has {len(rows)} rows, among "
            f"them {', '.join(map(str, rows[:5]))}: name rows of it, or another --split"
        )
    _, t, h, w, _ = dataset.parts[0][0].shape
    frames = read_frames(args.video, t) if args.video else None
    names = [*experiment.class_names(), BACKGROUND]
    out = args.out or checkpoint.parent / "attention"
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)

    evaluation = experiment.score(detailed=True)
    regions = known_regions(folder, (len(dataset.parts[0][0]), t, h, w))
    if regions is not None:
        regions = regions[rows]  # in the split's order
    events = video_events(evaluation.truth, evaluation.num_events).tolist()
    for row in args.rows:
        place = rows.index(row)
        title = " · ".join(filter(None, (names[events[place]], f"row {row}", *video_ids(folder.root, [row]))))
        video = attention_of(evaluation, place, title, (h, w), None if regions is None else regions[place], frames)
        path = out / f"attention_{row:05d}.png"
        draw_attention(path, video, names, experiment.config.model.event_threshold)
        print(path)
    if regions is not None:
        count, shares = shares_inside(evaluation, regions)
        print(
            f"In the regions that hold the event, over {count} segments of the {args.split} split whose event fills a "
            f"part of the frame{':' if count else ''}"
        )
        for name, share in shares.items():
            print(f"  {name:31}{100 * share:5.1f} %")


def attention_of(
    evaluation: "Evaluation",
    place: int,
    title: str,
    size: tuple[int, int],
    regions: np.ndarray | None,
    frames: Sequence[np.ndarray] | None,
) -> "Attention":
    """What there is to draw of the video at ``place`` of a detailed evaluation, whose maps have ``size`` (h, w)."""
    from tools.drawing.timelines import HEARD, JOINED, SEEN, Dots, Timeline
    from tools.visualize.attention_figure import Attention

    details, observation = evaluation.details, evaluation.details.observation
    predicted, truth, event_probability, m1, m2, *gates = (
        values[place].numpy()
        for values in (evaluation.predicted, evaluation.truth, details.event_probability, *observation)
    )
    styles = {"u of the picture": SEEN, "u of the sound": HEARD, "m, multimodal": JOINED}
    return Attention(
        Timeline(title, truth, predicted, event_probability),
        {"m1\nvisual": m1.reshape(-1, *size), "m2\naudio-\nguided": m2.reshape(-1, *size)},
        [Dots(label, gate, style) for (label, style), gate in zip(styles.items(), gates, strict=True)],
        regions,
        frames,
    )


def shares_inside(evaluation: "Evaluation", regions: np.ndarray) -> tuple[int, dict[str, float]]:
    """How much of the area, and of each attention, lies in the true ``regions`` (n, t, h, w).

    It is a mean over the segments whose event fills a part of the frame, and their number comes first. Where the event
    fills the whole frame, all attention is inside, wherever it is.
    """
    inside = regions.reshape(*regions.shape[:2], -1).astype(float)  # (n, t, r)
    counted = inside.any(axis=-1) & ~inside.all(axis=-1)
    observation = evaluation.details.observation
    parts = {
        "of the area": np.full_like(inside, 1 / inside.shape[-1]),
        "of m1, visual spatial attention": observation.visual_attention.numpy(),
        "of m2, audio-guided attention": observation.audio_guided_attention.numpy(),
    }
    shares = {name: (part * inside).sum(axis=-1)[counted] for name, part in parts.items()}
    return int(counted.sum()), {name: float(share.mean()) for name, share in shares.items() if len(share)}


def read_frames(path: Path, seconds: int) -> list[np.ndarray]:
    """The picture in the middle of each second of a video, (height, width, 3) each.

    Raises:
        InputError: the video cannot be read, or is shorter.
    """
    from dataset.extraction.video import VideoError, pictures_at

    try:
        pictures = pictures_at(path, [second + 0.5 for second in range(seconds)], FRAME_HEIGHT)
    except VideoError as error:
        raise InputError(f"{path}: {error}") from error
    if len(pictures) < seconds:
        raise InputError(f"{path}: its picture lasts about {len(pictures)} s, expected {seconds}")
    return pictures


if __name__ == "__main__":
    run_command(main)
