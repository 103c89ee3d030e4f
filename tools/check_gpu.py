"""Check that MAGAN computes on a GPU as it does elsewhere, and measure how fast.

The entry scripts train on the seeded videos of tools/reference, for which the outputs and losses of the published
network are known; where these are not needed, they train a small network on small synthetic data. A check that the
device cannot make, such as one of CUDA on a CPU, is marked as not run. The exit status is 1 if a check fails.
"""

import csv
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from configs import CONFIGS, FEEDS, PRECISIONS, ROOT, SCRIPTS, load_config
from dataset import AVEFolder
from dataset.batches import Batches
from dataset.synthetic import SyntheticAVE, write_synthetic_ave
from engine.device.choice import choose_device, describe
from engine.device.cuda_graph import WARM_UP
from engine.device.distributed import Ranks
from engine.evaluation import evaluate
from engine.feeds import make_feed
from engine.run_folder import LAST, METRICS
from engine.training import Feeds, Trainer
from model.published import from_published
from model.registry import NETWORKS, network_config
from tools.arguments import gpu_option, tool_parser
from tools.benchmark.__main__ import EPOCH_VIDEOS
from tools.benchmark.measurements import Conditions, measure_epoch, write_features
from tools.reference import seeded
from utils.arithmetic import allow_tf32, parameter_dtype
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error
from utils.log import log_to_terminal
from utils.memory import out_of_memory_as_error
from utils.progress import Progress

VIDEOS = 5  # seeded ones in training, one batch of the whole network
# Of one batch, whose losses are known. The first updates of Adam follow the signs of gradients: from the third loss on,
# the rounding of TF32 and bfloat16 is large in it (on an H200 in float32: 8e-4 after one update, 5e-2 after two).
PUBLISHED_EPOCHS = {"fp64": 4, "fp32": 2, "bf16": 2}
SMALL_EPOCHS = 2  # of a network for what its size does not matter to
SMALL_VIDEOS = 12  # in a batch of the small network
SMALL = {"visual_dim": 64, "audio_dim": 32, "d_model": 32, "encoder_hidden": 64, "decoder_hidden": 64}
EPOCHS = 8  # of one batch, of which the last five replay a CUDA graph
# Largest differences of outputs, and largest relative differences of losses, from the published values in float64.
OUTPUT_TOLERANCE = {"fp64": 1e-10, "fp32": 1e-3}
LOSS_TOLERANCE = {"fp64": 1e-8, "fp32": 1e-2, "bf16": 1e-1}
# Largest relative differences of the losses of two runs of the same kernels, some of which add in no fixed order.
REPEAT_TOLERANCE = {"fp64": 1e-8, "fp32": 1e-3, "bf16": 1e-2}
TIME_LIMIT = 900  # seconds of one command
COMMANDS_AT_A_TIME = 8  # on a GPU, at most
BENCHMARK_SECONDS = 0.5  # least time of a measurement


class NotRunError(Exception):
    """The device cannot show this; the message names what is missing."""


class CheckError(Exception):
    """A check failed."""


class Machine:
    """The device to check, and a folder with data, weights and configs of two sizes for it."""

    def __init__(self, gpu: str, folder: Path) -> None:
        self.gpu, self.folder = gpu, folder
        self.device = choose_device(gpu, Ranks())
        self.data = folder / "data"
        self.data.mkdir()
        seeded.write_ave_folder(self.data, {"train": VIDEOS, "val": 1, "test": 1})
        small_data = folder / "small-data"
        small_data.mkdir()
        widths = SMALL["visual_dim"], SMALL["audio_dim"]
        generator = SyntheticAVE(28, signal=2, map_size=2, seed=0, widths=widths)
        annotations = generator.annotations(28)
        write_synthetic_ave(small_data, generator, annotations, num_noisy=1, dtype="float32")
        # Two batches an epoch, too few for a CUDA graph.
        self.small_batches = ("--data_root", small_data, "--b", SMALL_VIDEOS)
        for setting in NETWORKS["magan"]:
            torch.save(seeded.published_checkpoint(setting), folder / f"{setting}.pth.tar")
            config = load_config(CONFIGS[setting])
            no_dropout = {name: 0.0 for name in config.model if name.endswith("dropout")}
            # The small network is the supervised one, the first.
            for name, values in (("small", SMALL), ("small-no-dropout", SMALL | no_dropout), (setting, no_dropout)):
                if (folder / f"{name}.json").exists():
                    continue
                contents = json.dumps(config.with_values(values, "check_gpu").as_dict())
                (folder / f"{name}.json").write_text(contents, encoding="utf-8")
        self.benchmarks: dict[str, object] = {}
        self.running: set[subprocess.Popen] = set()
        self.small_once = Lock()

    def require_cuda(self) -> None:
        if self.device.type != "cuda":
            raise NotRunError("needs CUDA")

    def run(self, *command: object) -> str:
        """Run a command of the project, and return its standard output."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen([sys.executable, *map(str, command)], cwd=ROOT, **pipes)
        self.running.add(process)
        try:
            output, errors = process.communicate(timeout=TIME_LIMIT)
        finally:
            process.kill()
            self.running.discard(process)
        if process.returncode:
            lines = errors.strip().splitlines() or [f"exit status {process.returncode}"]
            raise CheckError(next((line for line in lines if line.startswith("error: ")), lines[-1]))
        return output

    def train(self, name: str, setting: str, *flags: object, launcher: Sequence[object] = ()) -> list[float]:
        """The losses of a run, a number for each epoch; the last one is evaluated."""
        run = self.folder / name
        common = ("--gpu", self.gpu, "--data_root", self.data, "--snapshot_pref", run)
        batches = ("--b", VIDEOS, "--lr", 1e-4, "--eval_freq", 1 << 30)
        self.run(*launcher, SCRIPTS[setting], *common, *batches, *flags)
        with open(run / METRICS, newline="", encoding="utf-8") as file:
            return [float(row["loss"]) for row in csv.DictReader(file)]

    def train_as_published(self, name: str, setting: str, precision: str) -> str:
        """Train from the seeded weights without dropout, and compare the losses with the published ones."""
        epochs = PUBLISHED_EPOCHS[precision]
        config = ("--config", self.folder / f"{setting}.json", "--n_epoch", epochs, "--precision", precision)
        losses = self.train(name, setting, *config, "--resume", self.folder / f"{setting}.pth.tar")
        published = seeded.expected(setting, "video")["training_losses"][:epochs]
        return compare(losses, published, LOSS_TOLERANCE[precision])

    def train_small(self, name: str, *flags: object, config: str = "small", **options: object) -> list[float]:
        """The losses of a small network in float64."""
        small = ("--config", self.folder / f"{config}.json", "--precision", "fp64", "--n_epoch", SMALL_EPOCHS)
        return self.train(name, "supervised", *self.small_batches, *small, *flags, **options)

    def trainer(self, precision: str, cuda_graph: bool) -> Trainer:
        """A trainer of the supervised network in this process, which writes nothing; its epochs have one batch."""
        values = {"precision": precision, "batch_size": VIDEOS}
        config = load_config(CONFIGS["supervised"]).with_values(values, "check_gpu")
        dtype = parameter_dtype(precision)
        network = NETWORKS["magan"]["supervised"]
        config = config.with_values({"event_threshold": network.event_threshold}, "check_gpu")
        own = network_config(network, config)
        dataset = AVEFolder(self.data, own, dtype).split("train")
        feed = make_feed("device", dataset, Batches(VIDEOS, VIDEOS, seed=0), 0, self.device)
        torch.manual_seed(0)
        model = network(own).to(self.device, dtype)
        return Trainer(model, config, Feeds(feed, feed, feed), None, [], self.device, math.inf, Ranks(), cuda_graph)

    @staticmethod
    def train_epoch(trainer: Trainer) -> float:
        """Train for an epoch; gives its loss."""
        trainer.train_epoch()
        trainer.state.iteration = 0
        return trainer.sums.means()["loss"]

    @cached_property
    def small_losses(self) -> list[float]:
        """The losses of a small network with dropout, in one run."""
        return self.train_small("small")

    def compare_small(self, losses: Sequence[float]) -> str:
        """Compare with ``small_losses``: on a CPU, they are the same to the last bit."""
        with self.small_once:
            expected = self.small_losses
        return compare(losses, expected, 0 if self.device.type == "cpu" else REPEAT_TOLERANCE["fp64"])


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
        config = network_config(
            NETWORKS["magan"][setting], load_config(CONFIGS[setting]).with_values({"scope": scope}, "check_gpu")
        )
        model = NETWORKS["magan"][setting](config).to(machine.device, dtype).eval()
        model.load_state_dict(from_published(seeded.published_checkpoint(setting), model))
        with torch.inference_mode():
            outputs = model(visual, audio)
            found = {**outputs._asdict(), "prediction": model.decide(outputs)}
        for name, values in seeded.expected_outputs(setting, scope).items():
            worst = max(worst, (found[name].cpu() - torch.from_numpy(values)).abs().max().item())
    return within(worst, OUTPUT_TOLERANCE[precision], "largest difference of outputs")


def check_graph(machine: Machine, precision: str) -> str:
    """With dropout, a step replayed as a CUDA graph, which is the default, trains like a launched one."""
    machine.require_cuda()
    flags = ("supervised", "--precision", precision, "--n_epoch", EPOCHS)
    launched = machine.train(f"launched-{precision}", *flags, "--no-cuda_graph")
    return compare(machine.train(f"replayed-{precision}", *flags), launched, REPEAT_TOLERANCE[precision])


def check_failed_capture(machine: Machine) -> str:
    """A step that cannot be captured is launched, and trains like one that was never to be captured."""
    machine.require_cuda()
    losses = []
    for cuda_graph in (False, True):
        trainer = machine.trainer("fp64", cuda_graph)
        correct = trainer.correct  # whose result is waited for, which no capture allows
        trainer.correct = lambda *args, correct=correct: correct(*args) & bool(correct(*args).any())
        losses.append([machine.train_epoch(trainer) for _ in range(EPOCHS)])
    if not trainer.captured_step.failed:
        raise CheckError("a step that waits for the GPU was captured")
    return compare(*losses, REPEAT_TOLERANCE["fp64"])


def check_evaluation(machine: Machine, precision: str) -> str:
    """Replayed evaluation is the launched one to the last bit."""
    machine.require_cuda()
    trainer = machine.trainer(precision, cuda_graph=True)
    arguments = (
        trainer.model,
        trainer.feeds.test,
        machine.device,
        precision,
        0.5,
        Progress("", 1 << 62),
        trainer.ranks,
    )
    launched = evaluate(*arguments)
    for _ in range(WARM_UP + 2):
        replayed = evaluate(*arguments, batches_captured=trainer.captured_batches)
        if any(
            not torch.equal(*pair)
            for pair in zip(tree_leaves(launched), tree_leaves(replayed), strict=True)
            if isinstance(pair[0], torch.Tensor)
        ):
            raise CheckError("the results differ")
    if not all(call.replay for call in trainer.captured_batches.by_shape.values()):
        raise CheckError("evaluation was not captured")
    return "the same results"


def check_displays(machine: Machine) -> str:
    """Progress displayed at each step, as the published command asks for, takes no time."""
    machine.require_cuda()
    write_features(machine.folder)
    conditions = Conditions(machine.gpu, 64, 2, True, str(machine.folder))
    with_displays, without = (
        measure_epoch(conditions, "supervised", "bf16", EPOCH_VIDEOS, print_freq=print_freq)
        for print_freq in (1, 1 << 30)
    )
    return within(with_displays / without - 1, 0.05, f"an epoch takes {with_displays:.3f} s, share of displays")


def check_waiting(machine: Machine, precision: str) -> str:
    """A training step never waits for the GPU."""
    machine.require_cuda()
    trainer = machine.trainer(precision, cuda_graph=False)
    machine.train_epoch(trainer)  # the first step allocates and initialises
    batch = next(iter(trainer.feeds.train.epoch()))
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
    return machine.compare_small(machine.train_small(f"feed-{place}", "--features", place))


def check_resume(machine: Machine) -> str:
    """A run with dropout that stops after an epoch and is resumed is the run that does not stop."""
    machine.train_small("resumed", "--n_epoch", 1)
    last = machine.folder / "resumed" / LAST
    flags = (*machine.small_batches, "--resume", last, "--n_epoch", SMALL_EPOCHS)
    return machine.compare_small(machine.train("resumed", "supervised", *flags))


def check_processes(machine: Machine) -> str:
    """Training in one process for each GPU, and on a CPU in two, is training in one."""
    count = 2 if machine.device.type == "cpu" else min(torch.accelerator.device_count(), SMALL_VIDEOS)
    if count < 2:
        raise NotRunError("needs two GPUs")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", count)
    alone, together = (
        machine.train_small(name, config="small-no-dropout", launcher=launcher if name == "together" else ())
        for name in ("alone", "together")
    )
    return f"{count} processes, " + compare(together, alone, REPEAT_TOLERANCE["fp64"])


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
    small = ("--precision", "fp32", "--batch_size", 2, "--seconds", 0)
    flags = small if machine.device.type == "cpu" else (*flags, "--seconds", BENCHMARK_SECONDS)
    report = json.loads(machine.run("-m", "tools.benchmark", "--gpu", machine.gpu, "--json", *flags))
    machine.benchmarks[name] = report["results"]
    rows = [row for row in report["results"] if row["name"].startswith(("training step", "epoch"))]
    return ", ".join(f"{row['name']}: {row['videos_per_s']:.0f} videos/s, share {row['share']:.2f}" for row in rows)


def check_graph_speed(machine: Machine, name: str) -> str:
    """The benchmark with the step as a CUDA graph, epochs of AVE's size included."""
    machine.require_cuda()
    return check_speed(machine, name, "--epoch", "--precision", "fp32", "bf16")


class Check(NamedTuple):
    """A check, and whether it runs commands that need neither a quiet device nor this process."""

    name: str
    make: Callable[[], str]
    runs_commands: bool = False


def plan(machine: Machine) -> Iterator[Check]:
    """All checks, in their order."""
    for setting, precision in product(NETWORKS["magan"], OUTPUT_TOLERANCE):
        yield Check(f"parity {setting} {precision}", partial(check_parity, machine, setting, precision))
    for setting, precision in product(NETWORKS["magan"], PRECISIONS):
        name = f"training {setting} {precision}"
        yield Check(name, partial(machine.train_as_published, name.replace(" ", "-"), setting, precision), True)
    for precision in PRECISIONS:
        yield Check(f"CUDA graph {precision}", partial(check_graph, machine, precision), True)
    for precision in PRECISIONS:
        yield Check(f"replayed evaluation {precision}", partial(check_evaluation, machine, precision))
    yield Check("failed capture", partial(check_failed_capture, machine))
    for precision in PRECISIONS:
        yield Check(f"no waiting {precision}", partial(check_waiting, machine, precision))
    for place in FEEDS[1:]:
        yield Check(f"features {place}", partial(check_feed, machine, place), True)
    yield Check("resume", partial(check_resume, machine), True)
    yield Check("torchrun", partial(check_processes, machine), True)
    yield Check("out of memory", partial(check_memory, machine))
    yield Check("displays", partial(check_displays, machine))
    yield Check("benchmark", partial(check_speed, machine, "launched", "--no-cuda_graph"))
    yield Check("benchmark, CUDA graph", partial(check_graph_speed, machine, "CUDA graph"))


# ------------------------------------------------------------------------------------------------ the command


def run_checks(machine: Machine) -> list[dict[str, object]]:
    """Run all checks; one row for each, whose result is ``pass``, ``fail`` or ``not run``.

    Those that run commands come first, on a GPU several at a time.
    """
    rows, checks = {}, list(plan(machine))
    progress = Progress("checking", print_freq=1)
    at_a_time = 1 if machine.device.type == "cpu" else max(1, min(COMMANDS_AT_A_TIME, (os.cpu_count() or 1) // 2))
    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            running = {check.name: pool.submit(run_check, check) for check in checks if check.runs_commands}
            for check in progress.track(sorted(checks, key=lambda check: not check.runs_commands), total=len(checks)):
                row = running[check.name].result() if check.runs_commands else run_check(check)
                rows[check.name] = row
                progress.notes = f"{check.name}: {row['result']}"
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(machine.running):
                process.kill()
            raise
    return [rows[check.name] for check in checks]


def run_check(check: Check) -> dict[str, object]:
    """Run a check; gives its row."""
    began = time.monotonic()
    try:
        result, detail = "pass", check.make()
    except NotRunError as reason:
        result, detail = "not run", str(reason)
    except CheckError as error:
        result, detail = "fail", str(error)
    except Exception as error:  # whatever a GPU comes up with belongs into the report
        result, detail = "fail", f"{type(error).__name__}: {error}"
    return {"check": check.name, "result": result, "seconds": time.monotonic() - began, "detail": detail}


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
