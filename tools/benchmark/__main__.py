"""Measure how fast this machine trains and evaluates MAGAN, and how fast it could at best: its matrix products.

Every measurement is the best of several runs, and has a process of its own. forward is an evaluation batch (in full
float32, or as --precision says), training step is the trainer's own (in float32 it multiplies in TF32 on CUDA, and is
compared with that), both with the features on the device: float16 on a GPU, on the CPU in the precision's own type.
parts times forward and backward of each part of the network alone, on the inputs that it has in a step of the first
--setting and --precision, without --compile. feed reads random features of AVE's size, float64 files as published and
float16 ones as tools.pack_features makes them, until they are on the device. epoch is the trainer's own epoch of 3339
videos, held as for the training step.
"""

import argparse
import json
import logging
import math
import multiprocessing
import platform
import shutil
import signal
import tempfile
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch

from configs import PRECISIONS
from engine.device import choose_device
from engine.distributed import Ranks
from tools.benchmark.measurements import (
    AUDIO,
    EPOCH_VIDEOS,
    GFLOP,
    VISUAL,
    Conditions,
    measure_ceiling,
    measure_epoch,
    measure_feed,
    measure_forward,
    measure_parts,
    measure_step,
    write_features,
)
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal
from utils.memory import keep_freed_memory
from utils.progress import Progress
from utils.signals import deferred_signals

log = logging.getLogger(__name__)

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp64": "float64"}
STORED = {"float64": "", "float16": "_float16"}  # types of the feature files: what the keys of ``feed`` end with


class Measurement(NamedTuple):
    """One measurement, and where its result belongs."""

    title: str
    key: tuple[str, ...]
    function: Callable
    arguments: tuple


def parse_arguments() -> argparse.Namespace:
    description, _, details = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m tools.benchmark", description=description, epilog=details, allow_abbrev=False
    )
    add = parser.add_argument
    add("--gpu", default="0", metavar="N", help="CUDA device, or cpu (default: 0; without CUDA, the CPU)")
    add(
        "--setting",
        nargs="+",
        choices=tuple(GFLOP),
        default=["supervised"],
        help="which networks (default: supervised)",
    )
    add("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), help="which arithmetic (default: all)")
    add("--batch_size", type=int, default=64, metavar="N", help="videos in a batch (default: 64)")
    add("--compile", action="store_true", help="measure the training step and the epoch with torch.compile")
    add(
        "--epoch",
        choices=(*PRECISIONS, "none"),
        help=f"measure an epoch of {EPOCH_VIDEOS} videos in this precision, or none, since on a CPU it takes minutes "
        "(default: bf16 on a GPU, the first --precision on a CPU)",
    )
    add("--seconds", type=float, default=5, metavar="S", help="how long to repeat a measurement, at least (default: 5)")
    add("--videos", type=int, default=512, metavar="N", help="videos in the files of the feed (default: 512)")
    add("--num_workers", type=int, default=2, metavar="N", help="processes that read the stream (default: 2)")
    add("--scratch", type=Path, metavar="DIR", help="where these files are written for a while (default: temporary)")
    add("--json", action="store_true", help="print one JSON object instead of the table")
    args = parser.parse_args()
    for name, least in (("batch_size", 1), ("videos", 1), ("num_workers", 0)):
        if getattr(args, name) < least:
            parser.error(f"--{name} is {getattr(args, name)}, expected {least} or more")
    if not 0 < args.seconds < math.inf:
        parser.error(f"--seconds is {args.seconds}, expected more than 0")
    return args


def main() -> None:
    args = parse_arguments()
    log_to_terminal()
    device = choose_device(args.gpu, Ranks())
    conditions = Conditions(device, args.batch_size, args.seconds, args.num_workers, args.compile)
    check_room(args)
    with tempfile.TemporaryDirectory(prefix="magan-benchmark-", dir=args.scratch) as folder:
        found = measure_all(plan(args, conditions, Path(folder)))
    report = assemble(found, device)
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        print_table(report)


def plan(args: argparse.Namespace, conditions: Conditions, scratch: Path) -> list[Measurement]:
    """All measurements, in their order."""
    precisions, settings = list(dict.fromkeys(args.precision)), list(dict.fromkeys(args.setting))
    cuda = conditions.device.type == "cuda"
    measurements = []

    def add(title: str, key: tuple[str, ...], function: Callable, *arguments: object) -> None:
        measurements.append(Measurement(title, key, function, arguments))

    for dtype in [DTYPES[precision] for precision in precisions] + ["tf32"] * (cuda and "fp32" in precisions):
        add(f"ceiling, {dtype}", ("ceiling", dtype), measure_ceiling, conditions, dtype)
    for setting in settings:
        for precision in precisions:
            for name, function in (("forward", measure_forward), ("training step", measure_step)):
                key = ("results", setting, name, precision)
                add(f"{setting} {name}, {precision}", key, function, conditions, setting, precision)
    add("parts of the step", ("parts",), measure_parts, conditions, settings[0], precisions[0])
    for dtype, suffix in STORED.items():
        files = f"{args.videos} videos in {dtype}"
        add(f"writing {files}", ("written", dtype), write_features, scratch / dtype, dtype, args.videos)
        for where in ("stream", "ram", *(["device"] if cuda else [])):
            add(f"{where}, {files}", ("feed", where + suffix), measure_feed, conditions, where, scratch / dtype)
    epoch = args.epoch or ("bf16" if cuda else precisions[0])
    if epoch != "none":
        title = f"epoch of {EPOCH_VIDEOS} videos, {epoch}"
        add(title, ("epoch_s",), measure_epoch, conditions, settings[0], epoch)
    return measurements


def check_room(args: argparse.Namespace) -> None:
    """Check that the scratch folder takes the feature files.

    Raises:
        InputError: it is not there, or its disk is too full.
    """
    folder = args.scratch or Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise InputError(f"--scratch: {folder} is no folder")
    values = args.videos * (math.prod(VISUAL) + math.prod(AUDIO))
    needed, free = sum(values * np.dtype(dtype).itemsize for dtype in STORED), shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: needs {needed / 1e9:.2f} GB for a while, and its disk has {free / 1e9:.2f} GB free: name "
            "another folder with --scratch, or fewer --videos"
        )


def measure_all(measurements: list[Measurement]) -> dict[tuple[str, ...], object]:
    """Make each measurement in a process of its own; the results by key."""
    progress = Progress("measuring", print_freq=1)
    found = {}
    for measurement in progress.track(measurements, total=len(measurements)):
        found[measurement.key] = in_own_process(measurement)
        progress.notes = measurement.title
    return found


def in_own_process(measurement: Measurement) -> object:
    """What the measurement returns.

    Raises:
        InputError: it raised one, or its process died.
    """
    context = multiprocessing.get_context("spawn")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(sending, measurement.function, measurement.arguments))
    try:
        # Ctrl-C reaches all processes of a terminal. The new one inherits that it waits there for good: this one ends
        # it, and so does not hear of it while the process starts, when there is nothing yet to end.
        resource_tracker.ensure_running()  # starting it would undo the mask
        with deferred_signals():
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            process.start()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        sending.close()
        result = receiving.recv()
        process.join()
    except EOFError:
        process.join()
        raise InputError(
            f"{measurement.title}: its process ended with status {process.exitcode}; where it was killed, the memory "
            "is too small: give a smaller --batch_size or fewer --videos"
        ) from None
    finally:
        if process.is_alive():
            process.terminate()
            process.join()
    if isinstance(result, Exception):
        raise InputError(f"{measurement.title}: {result}") from result
    return result


def _measure(connection: Connection, function: Callable, arguments: tuple) -> None:
    keep_freed_memory()  # as training and evaluation do
    try:
        connection.send(function(*arguments))
    except (InputError, torch.OutOfMemoryError) as error:
        connection.send(InputError(str(error)))


def assemble(found: dict[tuple[str, ...], object], device: torch.device) -> dict[str, object]:
    """The report: ``ceiling``, ``results``, ``parts``, ``feed``, ``epoch_s``, ``device`` and ``versions``."""
    ceiling = {key[1]: speeds for key, speeds in found.items() if key[0] == "ceiling"}
    results = []
    for key, result in found.items():
        if key[0] == "results":
            _, setting, name, precision = key
            gflops = result["videos_per_s"] * GFLOP[setting][name]
            tf32 = device.type == "cuda" and precision == "fp32" and name == "training step"
            reached = ceiling["tf32" if tf32 else DTYPES[precision]]["best"]
            results.append(
                {
                    "name": f"{setting} {name}",
                    "precision": precision,
                    "videos_per_s": result["videos_per_s"],
                    "gflops": gflops,
                    "share": gflops / reached,
                    "peak_memory_bytes": result["peak_memory_bytes"],
                }
            )
    return {
        "ceiling": ceiling,
        "results": results,
        "parts": found["parts",],
        "feed": {
            where + suffix: found.get(("feed", where + suffix))
            for suffix in STORED.values()
            for where in ("stream", "ram", "device")
        },
        "epoch_s": found.get(("epoch_s",)),
        "device": describe(device),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "cuda": torch.version.cuda,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
        },
    }


def describe(device: torch.device) -> str:
    """The device's name; of a CPU also the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} threads"


def print_table(report: dict) -> None:
    """The report, for people."""
    print(f"{report['device']}; " + ", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    products = [name for name in next(iter(report["ceiling"].values())) if name != "best"]
    print("\n{:34}".format("ceiling, GFLOP/s") + "".join(f"{name:>18}" for name in products))
    for dtype, speeds in report["ceiling"].items():
        print(f"{dtype:34}" + "".join(f"{speeds[name]:18.1f}" for name in products))
    print("\n{:34}{:>12}{:>12}{:>12}{:>12}".format("network", "videos/s", "GFLOP/s", "of ceiling", "peak GB"))
    for result in report["results"]:
        title = f"{result['name']}, {result['precision']}"
        print(
            f"{title:34}{result['videos_per_s']:12.1f}{result['gflops']:12.1f}{result['share']:12.1%}"
            f"{result['peak_memory_bytes'] / 1e9:12.2f}"
        )
    print("\n{:34}{:>12}{:>12}".format("part of the training step", "ms", "of step"))
    for part in report["parts"]:
        print(f"{part['name']:34}{1e3 * part['seconds']:12.2f}{part['share']:12.1%}")
    print(
        f"{'all of them':34}{1e3 * sum(part['seconds'] for part in report['parts']):12.2f}"
        f"{sum(part['share'] for part in report['parts']):12.1%}"
    )
    print("\n{:34}{:>12}".format("feed (float64 unless it says so)", "videos/s"))
    for name, speed in report["feed"].items():
        if name.endswith("_float16"):
            name = name.removesuffix("_float16") + ", float16"
        print(f"{name:34}{'-' if speed is None else format(speed, '12.1f'):>12}")
    seconds = report["epoch_s"]
    print(f"\nepoch of {EPOCH_VIDEOS} videos: {'not measured' if seconds is None else f'{seconds:.3f} s'}")


if __name__ == "__main__":
    run_command(main)
