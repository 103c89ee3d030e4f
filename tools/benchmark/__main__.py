"""Measure how fast this machine trains and evaluates MAGAN, and compare it with the machine's matrix products.

A measurement repeats for --seconds, on a CPU in a process of its own; the best run counts. ceiling is a matrix
product, forward an evaluation batch; training step and epoch are the trainer's own. Their features are on the device,
or in memory on a CPU. Shares are of the best product in the same arithmetic: TF32 where a GPU trains in float32,
float32 where a CPU multiplies bfloat16 in it. feed reads files, float64 as published or float16 as tools.pack_features
writes them, until the features are on the device in float32.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from configs import PRECISIONS, ROOT
from engine.device.choice import choose_device, describe
from engine.device.distributed import Ranks
from tools.arguments import gpu_option, positive, tool_parser
from tools.benchmark.measurements import FEED_BATCHES, Conditions, write_features
from utils.arithmetic import has_bfloat16, require_precision
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.progress import Progress
from utils.signals import deferred_signals

# Of one video as the equations state it; a multiply-add counts as two. A training step needs less: it leaves out a
# product, see MultiHeadAttention.residual.
GFLOP = {
    "supervised": {"forward": 2.32, "training step": 6.95, "epoch": 6.95},
    "weakly": {"forward": 2.36, "training step": 7.1, "epoch": 7.1},
}
# (m, k, n): a large square product, and the most frequent one of the network, over the regions of 64 videos.
PRODUCTS = ((4096, 4096, 4096), (31360, 512, 512))
ARITHMETIC = {"fp32": "float32", "bf16": "bfloat16", "fp64": "float64"}
EPOCH_VIDEOS = 3339  # AVE's training split


class Measurement(NamedTuple):
    """A measurement and the work that it does."""

    name: str
    arguments: list
    videos: int = 0
    gflop: float = 0
    arithmetic: str = ""


def parse_arguments() -> argparse.Namespace:
    parser = tool_parser("benchmark", __doc__, gpu_option())
    add = parser.add_argument
    add("--setting", nargs="+", choices=tuple(GFLOP), default=["supervised"], help="networks (default: supervised)")
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="arithmetic (default: all)")
    add("--batch_size", type=positive, default=64, metavar="N", help="videos in a batch (default: 64)")
    graph = {"action": argparse.BooleanOptionalAction, "default": True}
    add("--cuda_graph", "--compile", **graph, help="on CUDA, replay steps and evaluations as CUDA graphs (default)")
    add("--epoch", action="store_true", help=f"measure epochs of {EPOCH_VIDEOS} videos too, minutes each on a CPU")
    add("--seconds", type=float, default=10, metavar="S", help="minimum time of a measurement (default: 10)")
    add("--json", action="store_true", help="print one JSON object instead of a table")
    args = parser.parse_args()
    if not args.seconds >= 0:  # nor nan
        parser.error(f"--seconds is {args.seconds}, expected 0 or more")
    return args


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    device = choose_device(args.gpu, Ranks())
    for precision in args.precision:
        require_precision(device, precision)
    with tempfile.TemporaryDirectory(prefix="magan-benchmark-") as folder:
        write_features(Path(folder))
        conditions = Conditions(args.gpu, args.batch_size, args.seconds, args.cuda_graph, folder)
        rows = measure(list(plan(args, device)), conditions, device)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    if args.json:
        print(json.dumps({"device": describe(device), "versions": versions, "results": rows}, indent=2))
    else:
        print(describe(device), *(f"{name} {version}" for name, version in versions.items() if version), sep=", ")
        print_table(rows)


def plan(args: argparse.Namespace, device: torch.device) -> Iterator[Measurement]:
    """All measurements, the ceilings first."""
    tf32 = ["tf32"] if device.type == "cuda" and "fp32" in args.precision else []
    multiplies = dict(ARITHMETIC)
    if device.type == "cpu" and not has_bfloat16():
        multiplies["bf16"] = "float32"
    for arithmetic in [*dict.fromkeys(multiplies[precision] for precision in args.precision), *tf32]:
        for m, k, n in PRODUCTS:
            yield Measurement("ceiling", [arithmetic, m, k, n], gflop=2e-9 * m * k * n, arithmetic=arithmetic)
    for setting, precision, name in product(args.setting, args.precision, ("forward", "training step", "epoch")):
        videos = EPOCH_VIDEOS if name == "epoch" else args.batch_size
        arithmetic = "tf32" if tf32 and precision == "fp32" and name != "forward" else multiplies[precision]
        if name != "epoch" or args.epoch:
            yield Measurement(name, [setting, precision, videos], videos, videos * GFLOP[setting][name], arithmetic)
    for place, dtype in (("stream", "float64"), ("stream", "float16"), ("ram", "float16"), ("device", "float16")):
        if place != "device" or device.type != "cpu":
            yield Measurement("feed", [place, dtype], FEED_BATCHES * args.batch_size)


def measure(measurements: list[Measurement], conditions: Conditions, device: torch.device) -> list[dict]:
    """Make the measurements; one row for each."""
    rows, ceiling = [], defaultdict(float)
    progress = Progress("measuring", print_freq=1)
    # The peak memory of a CPU is that of a process. CUDA counts its own, and takes seconds to start.
    groups = [[each] for each in measurements] if device.type == "cpu" else [measurements]
    results = (result for group in groups for result in in_own_process(group, conditions))
    for measurement in progress.track(measurements, total=len(measurements)):
        result = next(results)
        gflops = measurement.gflop / result["seconds"]
        if measurement.name == "ceiling":
            ceiling[measurement.arithmetic] = max(gflops, ceiling[measurement.arithmetic])
        row = {
            "name": " ".join(map(str, [measurement.name, *measurement.arguments])),
            **result,
            "videos_per_s": measurement.videos / result["seconds"] if measurement.videos else None,
            "gflops": gflops or None,
            "share": gflops / ceiling[measurement.arithmetic] if gflops else None,
        }
        rows.append(row)
        progress.notes = row["name"]
    return rows


def in_own_process(measurements: list[Measurement], conditions: Conditions) -> Iterator[dict[str, float]]:
    """``seconds`` and ``peak_memory_bytes`` of each measurement, all made in one process."""
    requests = json.dumps([[each.name, conditions, each.arguments] for each in measurements])
    command = [sys.executable, "-m", "tools.benchmark.measurements", requests]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = None
    try:
        # In a session of its own: Ctrl-C reaches this process alone, which ends the other one.
        with deferred_signals():
            process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
        for measurement in measurements:
            if not (line := process.stdout.readline()):
                reason = process.stderr.read().strip().splitlines()[-1:]
                reason = reason or ["its process was killed, maybe for lack of memory"]
                raise InputError(f"{measurement.name} {measurement.arguments}: {reason[0]}")
            yield json.loads(line)
    finally:
        if process:
            process.kill()
            process.communicate()


def print_table(rows: list[dict]) -> None:
    """Print the rows, with a dash for a value that a measurement does not have."""
    columns = {"seconds": "10.5f", "videos_per_s": "10.1f", "gflops": "10.1f", "share": "10.1%", "peak GB": "10.2f"}
    print(f"\n{'':32}" + "".join(f"{name:>13}" for name in columns))
    for row in rows:
        row = {**row, "peak GB": row["peak_memory_bytes"] / 1e9}
        cells = (format(row[name], form) if row[name] is not None else "-" for name, form in columns.items())
        print(f"{row['name']:32}" + "".join(f"{cell:>13}" for cell in cells))


if __name__ == "__main__":
    run_command(main)
