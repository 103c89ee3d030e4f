"""Draw the attention of a network in chosen videos, second by second.

Each row of the data gives a picture of the attention over the regions of each second, which for MAGAN is m1 and m2 of
CMGCA, above truth, prediction, gates and event probability. On synthetic data, where the regions of the event are
known, the share of the attention inside them is printed beside their share of the area, over the segments of the whole
split whose event fills a part of the frame.
"""

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from dataset.annotations import BACKGROUND, video_ids
from dataset.labels import video_events
from dataset.synthetic import read_truth
from engine.experiment import evaluation_of
from model.network import maps_and_curves
from tools.arguments import checkpoint_of, evaluation_options, tool_parser
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.packages import require_packages

log = logging.getLogger(__name__)

FRAME_HEIGHT = 180  # pixels


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("visualize", __doc__, evaluation_options())
    add = parser.add_argument
    add("--rows", type=int, nargs="+", required=True, metavar="ROW", help="row numbers of videos of --split")
    add("--video", type=Path, metavar="FILE", help="the raw video of the row, to draw over its frames")
    add(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder for attention_ROW.png, created if necessary (default: attention beside the checkpoint)",
    )
    args = parser.parse_args()
    if args.video and len(args.rows) > 1:
        parser.error(f"--video is the video of one row, but --rows names {len(args.rows)}")
    return args


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    require_packages("matplotlib", *(["av"] if args.video else []))
    from tools.drawing.timelines import Timeline
    from tools.visualize.attention_figure import draw_attention

    checkpoint = checkpoint_of(args.source)
    experiment = evaluation_of(checkpoint, args.data_root, args.gpu, args.split)
    dataset = experiment.folder.split(args.split)
    rows = dataset.rows.tolist()
    if unknown := [row for row in args.rows if row not in rows]:
        raise InputError(
            f"--rows: {', '.join(map(str, unknown))} not in the {args.split} split, which has {len(rows)} rows, "
            f"such as {', '.join(map(str, rows[:5]))}: name rows of it, or another --split"
        )
    num_rows, t, h, w, _ = dataset.parts[0][0].shape
    frames = read_frames(args.video, t) if args.video else None
    out = args.out or checkpoint.parent / "attention"
    with os_error_as_input_error(out):
        out.mkdir(parents=True, exist_ok=True)

    evaluation = experiment.score(observe=True)
    names = [*experiment.class_names(), BACKGROUND]
    events = video_events(evaluation.truth, evaluation.num_events).tolist()
    regions = read_truth(experiment.folder.root, "regions", (num_rows, t, h, w))
    maps, curves = maps_and_curves(evaluation.observation)
    if not maps:
        raise InputError(f"{checkpoint}: its network has no attention to draw")
    for row in args.rows:
        i = rows.index(row)
        title = " · ".join(filter(None, (names[events[i]], f"row {row}", *video_ids(experiment.folder.root, [row]))))
        shown = (evaluation.truth, evaluation.predicted, evaluation.decisions.event_probability)
        timeline = Timeline(title, *(each[i].numpy() for each in shown))
        path = out / f"attention_{row:05d}.png"
        draw_attention(
            path,
            timeline,
            {name: each[i].numpy().reshape(t, h, w) for name, each in maps.items()},
            {name: each[i].numpy() for name, each in curves.items()},
            names,
            experiment.threshold,
            None if regions is None else regions[row],
            frames,
        )
        print(path)
    if regions is not None:
        count, shares = shares_inside(maps, regions[rows])
        print(f"Inside the event's regions, over {count} segments of the {args.split} split that it fills in part:")
        for name, share in shares.items():
            print(f"  {name:31}{100 * share:5.1f} %")


def shares_inside(maps: Mapping[str, Tensor], regions: np.ndarray) -> tuple[int, dict[str, float]]:
    """The shares of the area and of each attention that lie inside the true ``regions`` (n, t, h, w) of the event.

    They are means over the segments whose event fills a part of the frame; the number of these segments comes first.
    Where the event fills the whole frame, all attention is inside by necessity.
    """
    inside = regions.reshape(*regions.shape[:2], -1).astype(float)  # (n, t, r)
    counted = inside.any(axis=-1) & ~inside.all(axis=-1)
    parts = {"of the area": np.full_like(inside, 1 / inside.shape[-1])}
    parts |= {f"of the {name}": values.numpy() for name, values in maps.items()}
    shares = {name: (part * inside).sum(axis=-1)[counted] for name, part in parts.items()}
    return int(counted.sum()), {name: float(share.mean()) for name, share in shares.items() if len(share)}


def read_frames(path: Path, seconds: int) -> list[np.ndarray]:
    """The frames in the middle of each second of a video, (height, width, 3) each."""
    from dataset.extraction.video import VideoError, pictures_at

    try:
        frames = pictures_at(path, [second + 0.5 for second in range(seconds)], FRAME_HEIGHT)
    except VideoError as error:
        raise InputError(f"{path}: {error}") from error
    if len(frames) < seconds:
        raise InputError(f"{path}: its picture lasts about {len(frames)} s, expected {seconds}")
    return frames


if __name__ == "__main__":
    run_command(main)
