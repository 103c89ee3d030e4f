"""Check that MAGAN computes on a GPU as it does elsewhere, and measure how fast.

The entry scripts train on the seeded videos of tests/reference, for which the outputs and losses of the published
network are known. A check that the device cannot make, such as one of CUDA on a CPU, is marked as not run. The exit
status is 1 if a check fails.
"""

import csv
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path

import torch

from configs import CONFIGS, FEEDS, PRECISIONS, ROOT, SCRIPTS, SPLITS, load_config
from dataset import AVEFolder
from dataset.batches import Batches
from engine.device import choose_device, describe
from engine.distributed import Ranks
from engine.feeds import make_feed
from engine.run_folder import LAST, METRICS
from engine.training import Feeds, Trainer
from model import MODELS
from model.published import from_published
from tests.reference import seeded
from tools.arguments import gpu_option, tool_parser
from utils.arithmetic import allow_tf32, parameter_dtype
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.memory import out_of_memory_as_error
from utils.progress import Progress

VIDEOS = 5  # in the seeded data, one batch
PUBLISHED_EPOCHS = {"fp64": 4, "fp32": 4, "bf16": 2}  # of one batch, whose losses are known
SHORT = 2  # epochs where the network's losses are not the question
GRAPH_EPOCHS = 8  # of which the last five replay the graph
# Largest differences of outputs, and largest relative differences of losses, from the published values in float64.
OUTPUT_TOLERANCE = {"fp64": 1e-10, "fp32": 1e-3}
LOSS_TOLERANCE = {"fp64": 1e-8, "fp32": 1e-2, "bf16": 1e-1}
# Largest relative differences of the losses of two runs of the same kernels, some of which add in no fixed order.
REPEAT_TOLERANCE = {"fp64": 1e-8, "fp32": 1e-3, "bf16": 1e-2}
GRAPH_LR = 2**-13  # which float32 holds exactly: a graph reads it in float32
TIME_LIMIT = 900  # seconds of one command


class NotRunError(Exception):
    """The device cannot show this; the message names what is missing."""


class CheckError(Exception):
    """A check failed."""


class Machine:
    """The device to check, and a folder with data, weights and configs for it."""

    def __init__(self, gpu: str, folder: Path) -> None:
        self.gpu, self.folder = gpu, folder
        self.device = choose_device(gpu, Ranks())
        self.data = folder / "data"
        self.data.mkdir()
        seeded.write_ave_folder(self.data, SPLITS)
        for setting in MODELS:
            torch.save(seeded.published_checkpoint(setting), folder / f"{setting}.pth.tar")
            config = load_config(CONFIGS[setting])
            no_dropout = {name: 0.0 for name in asdict(config.model) if name.endswith("dropout")}
            contents = json.dumps(config.with_values(no_dropout, "check_gpu").as_dict())
            (folder / f"{setting}.json").write_text(contents, encoding="utf-8")
        self.benchmarks: dict[str, object] = {}

    def require_cuda(self) -> None:
        if self.device.type != "cuda":
            raise NotRunError("needs CUDA")

    def run(self, *command: object) -> str:
        """Run a command of the project, and return its standard output."""
        result = subprocess.run(
            [sys.executable, *map(str, command)], cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT
        )
        if result.returncode:
            lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
            raise CheckError(next((line for line in lines if line.startswith("error: ")), lines[-1]))
        return result.stdout

    def train(self, name: str, setting: str, *flags: object, launcher: Sequence[object] = ()) -> list[float]:
        """The losses of a run, from the seeded weights unless ``flags`` resume it; its epochs have one batch each."""
        run = self.folder / name
        common = ("--gpu", self.gpu, "--data_root", self.data, "--snapshot_pref", run)
        weights = self.folder / f"{setting}.pth.tar"
        start = ("--resume", weights, "--b", VIDEOS, "--lr", 1e-4, "--eval_freq", 1 << 30)
        self.run(*launcher, SCRIPTS[setting], *common, *(() if "--resume" in flags else start), *flags)
        with open(run / METRICS, newline="", encoding="utf-8") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    def train_as_published(
        self, name: str, setting: str, precision: str, epochs: int, *flags: object, **options: object
    ) -> str:
        """Train without dropout, and compare the losses with the published ones."""
        config = ("--config", self.folder / f"{setting}.json", "--n_epoch", epochs, "--precision", precision)
        losses = self.train(name, setting, *config, *flags, **options)
        published = seeded.expected(setting, "video")["training_losses"][:epochs]
        return compare(losses, published, LOSS_TOLERANCE[precision])


def compare(losses: Sequence[float], expected: Sequence[float], tolerance: float) -> str:
    """Compare the losses of two runs."""
    worst = max(abs(ours / theirs - 1) for ours, theirs in zip(losses, expected, strict=True))
    return within(worst, tolerance, "largest relative difference of losses")


def within(difference: float, tolerance: float, name: str) -> str:
    """Describe a difference that is small enough; any other one is a ``CheckError``."""
    text = f"{name} {difference:.1e}, at most {tolerance:.0e} allowed"
    if not difference <= tolerance:  # nor nan
        raise CheckError(text)
    return text


# ------------------------------------------------------------------------------------------------ checks


def check_parity(machine: Machine, setting: str, precision: str) -> str:
    """Outputs and decisions for the seeded weights are the published ones, in either scope."""
    dtype, worst = parameter_dtype(precision), 0.0
    visual, audio, _ = (tensor.to(machine.device, dtype) for tensor in seeded.inputs())
    allow_tf32(False)
    for scope in seeded.SCOPES:
        config = load_config(CONFIGS[setting]).with_values({"scope": scope}, "check_gpu").model
        model = MODELS[setting](config).to(machine.device, dtype).eval()
        model.load_state_dict(from_published(seeded.published_checkpoint(setting), model))
        with torch.inference_mode():
            outputs = model(visual, audio)
            found = {**outputs._asdict(), "prediction": model.decide(outputs)}
        for name, values in seeded.expected_outputs(setting, scope).items():
            worst = max(worst, (found[name].cpu() - torch.from_numpy(values)).abs().max().item())
    return within(worst, OUTPUT_TOLERANCE[precision], "largest difference of outputs")


def check_graph(machine: Machine, precision: str) -> str:
    """With dropout, a step replayed as a CUDA graph trains like a launched one."""
    machine.require_cuda()
    flags = ("supervised", "--precision", precision, "--n_epoch", GRAPH_EPOCHS, "--lr", GRAPH_LR)
    launched = machine.train(f"launched-{precision}", *flags)
    replayed = machine.train(f"replayed-{precision}", *flags, "--cuda_graph")
    return compare(replayed, launched, REPEAT_TOLERANCE[precision])


def check_waiting(machine: Machine, precision: str) -> str:
    """A training step never waits for the GPU."""
    machine.require_cuda()
    config = load_config(CONFIGS["supervised"]).with_values({"precision": precision, "batch_size": VIDEOS}, "check_gpu")
    dtype = parameter_dtype(precision)
    dataset = AVEFolder(machine.data, config.model, dtype).split("train")
    feed = make_feed("device", dataset, Batches(VIDEOS, VIDEOS, seed=0), 0, machine.device)
    model = MODELS["supervised"](config.model).to(machine.device, dtype)
    trainer = Trainer(model, config, Feeds(feed, feed, feed), None, [], machine.device, math.inf, Ranks(), False)
    trainer.train_epoch()  # the first step allocates and initialises
    trainer.state.iteration = 0
    batch = next(iter(feed.epoch()))
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "no synchronization"


def check_feed(machine: Machine, place: str) -> str:
    """Training reads the same features from everywhere."""
    if place == "device" and machine.device.type == "cpu":
        raise NotRunError("needs a GPU")
    return machine.train_as_published(f"feed-{place}", "supervised", "fp64", SHORT, "--features", place)


def check_resume(machine: Machine) -> str:
    """A run with dropout that stops after an epoch and is resumed is the run that does not stop."""
    flags = ("supervised", "--precision", "fp64")
    whole = machine.train("whole", *flags, "--n_epoch", SHORT)
    machine.train("resumed", *flags, "--n_epoch", 1)
    resumed = machine.train("resumed", "supervised", "--resume", machine.folder / "resumed" / LAST, "--n_epoch", SHORT)
    return compare(resumed, whole, 0 if machine.device.type == "cpu" else REPEAT_TOLERANCE["fp64"])


def check_processes(machine: Machine) -> str:
    """Training in one process for each GPU, and on a CPU in two, is training in one."""
    count = 2 if machine.device.type == "cpu" else min(torch.accelerator.device_count(), VIDEOS)
    if count < 2:
        raise NotRunError("needs two GPUs")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", count)
    return f"{count} processes, " + machine.train_as_published(
        "processes", "supervised", "fp64", SHORT, launcher=launcher
    )


def check_memory(machine: Machine) -> str:
    """A lack of memory is one sentence, and the device works afterwards."""
    try:
        with out_of_memory_as_error(machine.device, "give a smaller --b"):
            torch.empty(1 << 60, dtype=torch.uint8, device=machine.device)
    except InputError as error:
        torch.ones(1, device=machine.device).item()
        return str(error)
    raise CheckError("an exbibyte was allocated")


def check_speed(machine: Machine, name: str, *flags: object) -> str:
    """The benchmark, all of whose results go into the report."""
    if machine.device.type == "cpu":
        flags = ("--precision", "fp32", "--batch_size", 2, "--seconds", 0)
    report = json.loads(machine.run("-m", "tools.benchmark", "--gpu", machine.gpu, "--json", *flags))
    machine.benchmarks[name] = report["results"]
    rows = [row for row in report["results"] if row["name"].startswith(("training step", "epoch"))]
    return ", ".join(f"{row['name']}: {row['videos_per_s']:.0f} videos/s, share {row['share']:.2f}" for row in rows)


def check_graph_speed(machine: Machine, name: str) -> str:
    """The benchmark with the step as a CUDA graph, epochs of AVE's size included."""
    machine.require_cuda()
    return check_speed(machine, name, "--seconds", 2, "--cuda_graph", "--epoch", "--precision", "fp32", "bf16")


def plan(machine: Machine) -> Iterator[tuple[str, Callable[[], str]]]:
    """All checks by name, in their order."""
    for setting, precision in product(MODELS, OUTPUT_TOLERANCE):
        yield f"parity {setting} {precision}", partial(check_parity, machine, setting, precision)
    for setting, precision in product(MODELS, PRECISIONS):
        name = f"training {setting} {precision}"
        epochs = PUBLISHED_EPOCHS[precision]
        yield name, partial(machine.train_as_published, name.replace(" ", "-"), setting, precision, epochs)
    for precision in PRECISIONS:
        yield f"CUDA graph {precision}", partial(check_graph, machine, precision)
    for precision in PRECISIONS:
        yield f"no waiting {precision}", partial(check_waiting, machine, precision)
    for place in FEEDS[1:]:
        yield f"features {place}", partial(check_feed, machine, place)
    yield "resume", partial(check_resume, machine)
    yield "torchrun", partial(check_processes, machine)
    yield "out of memory", partial(check_memory, machine)
    yield "benchmark", partial(check_speed, machine, "launched", "--seconds", 2)
    yield "benchmark, CUDA graph", partial(check_graph_speed, machine, "CUDA graph")


# ------------------------------------------------------------------------------------------------ the command


def run_checks(machine: Machine) -> list[dict[str, object]]:
    """Run all checks; one row for each, whose result is ``pass``, ``fail`` or ``not run``."""
    rows, checks = [], list(plan(machine))
    progress = Progress("checking", print_freq=1)
    for name, check in progress.track(checks, total=len(checks)):
        began = time.monotonic()
        try:
            result, detail = "pass", check()
        except NotRunError as reason:
            result, detail = "not run", str(reason)
        except CheckError as error:
            result, detail = "fail", str(error)
        except Exception as error:  # whatever a GPU comes up with belongs into the report
            result, detail = "fail", f"{type(error).__name__}: {error}"
        rows.append({"check": name, "result": result, "seconds": time.monotonic() - began, "detail": detail})
        progress.notes = f"{name}: {result}"
    return rows


def main() -> None:
    parser = tool_parser("check_gpu", __doc__, gpu_option())
    out = Path("gpu-report.json")
    parser.add_argument("--out", type=Path, default=out, metavar="FILE", help=f"report to write (default: {out})")
    args = parser.parse_args()
    log_to_terminal()
    with tempfile.TemporaryDirectory(prefix="magan-check-") as folder:
        machine = Machine(args.gpu, Path(folder))
        rows = run_checks(machine)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
    device = describe(machine.device)
    print(device, *(f"{name} {version}" for name, version in versions.items()), sep=", ")
    for row in rows:
        print(f"{row['result']:8} {row['check']:24} {row['seconds']:6.1f} s  {row['detail']}")
    results = Counter(row["result"] for row in rows)
    print(", ".join(f"{results[result]} {result}" for result in ("pass", "fail", "not run")))
    report = {"device": device, "versions": versions, "checks": rows, "benchmarks": machine.benchmarks}
    with os_error_as_input_error(args.out), atomic_write(args.out) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"Report: {args.out}")
    if results["fail"]:
        sys.exit(1)


if __name__ == "__main__":
    run_command(main)
