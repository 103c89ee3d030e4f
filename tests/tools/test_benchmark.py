"""The benchmark's report has the form that it promises, and its numbers agree with one another."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from tests.conftest import ENVIRONMENT, ROOT
from tools.benchmark.measurements import GFLOP, PRODUCTS, Conditions, measure_ceiling, measure_epoch

QUICK = ("--gpu", "cpu", "--batch_size", 2, "--seconds", 0.01, "--videos", 6, "--num_workers", 1, "--epoch", "none")
CONDITIONS = Conditions(torch.device("cpu"), batch_size=2, seconds=0.01, num_workers=0, compiled=False)
PARTS = ["refine", "co-attention", "temporal", "co-interaction", "loss", "optimizer"]


@pytest.fixture(scope="module")
def report(run):
    return json.loads(run("tools.benchmark", "--json", "--precision", "fp32", *QUICK).stdout)


@pytest.mark.slow
def test_report_is_one_object_with_the_keys_that_are_promised(report):
    assert list(report) == ["ceiling", "results", "parts", "feed", "epoch_s", "device", "versions"]
    assert list(report["ceiling"]) == ["float32"]
    assert list(report["ceiling"]["float32"]) == ["best", *PRODUCTS]
    assert [(result["name"], result["precision"]) for result in report["results"]] == [
        ("supervised forward", "fp32"),
        ("supervised training step", "fp32"),
    ]
    numbers = {"videos_per_s", "gflops", "share", "peak_memory_bytes"}
    for result in report["results"]:
        assert set(result) == {"name", "precision", *numbers}
        assert all(result[name] > 0 for name in numbers)
    assert [set(part) for part in report["parts"]] == [{"name", "seconds", "share"}] * len(PARTS)
    assert [part["name"] for part in report["parts"]] == PARTS
    assert list(report["feed"]) == ["stream", "ram", "device", "stream_float16", "ram_float16", "device_float16"]
    assert all((speed is None) == name.startswith("device") for name, speed in report["feed"].items())
    assert all(speed is None or speed > 0 for speed in report["feed"].values())
    assert report["epoch_s"] is None
    assert report["device"].endswith(" threads")
    assert report["versions"]["torch"] == torch.__version__


@pytest.mark.slow
def test_numbers_of_the_report_agree(report):
    ceiling = report["ceiling"]["float32"]
    assert ceiling["best"] == max(ceiling[product] for product in PRODUCTS)
    for result in report["results"]:
        setting, _, name = result["name"].partition(" ")
        assert result["gflops"] == pytest.approx(result["videos_per_s"] * GFLOP[setting][name])
        assert result["share"] == pytest.approx(result["gflops"] / ceiling["best"])
    forward, step = report["results"]
    assert forward["videos_per_s"] > step["videos_per_s"]
    # A step keeps the activations, the gradients and Adam's two moments; all processes import the same.
    assert step["peak_memory_bytes"] > forward["peak_memory_bytes"] + 3 * 12_507_386 * 4


@pytest.mark.slow
def test_parts_make_up_most_of_the_step(report):
    assert all(part["seconds"] > 0 for part in report["parts"])
    # They were timed apart, so the sum is that of the step only roughly, more so on a busy machine.
    assert 0.5 < sum(part["share"] for part in report["parts"]) < 2
    # All have the same step to share.
    steps = [part["seconds"] / part["share"] for part in report["parts"]]
    assert steps == pytest.approx([steps[0]] * len(steps))


@pytest.mark.slow
def test_epoch_is_measured_and_grows_with_its_videos():
    assert 0 < measure_epoch(CONDITIONS, "weakly", "bf16", 3) < measure_epoch(CONDITIONS, "weakly", "bf16", 12)


def test_ceiling_is_that_of_the_type_that_it_names(monkeypatch):
    """float64 has half as many numbers in a register as float32, on any CPU."""
    monkeypatch.setattr("utils.measurements.PRODUCTS", {"small": (512, 512, 512)})
    conditions = replace(CONDITIONS, seconds=0.5)  # the best of many, whatever else the machine does
    assert measure_ceiling(conditions, "float64")["best"] < measure_ceiling(conditions, "float32")["best"]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.005, 0.01, 0.02])  # seconds: while the process of a measurement starts
def test_interrupted_benchmark_stops_at_once_and_leaves_no_files(tmp_path, delay):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it, as do their children
    command = [sys.executable, "-m", "tools.benchmark", *map(str, QUICK), "--seconds", "100", "--scratch", tmp_path]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            while not list(tmp_path.iterdir()):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            said = process.communicate(timeout=60)[1]
        finally:
            process.terminate()  # where it did not stop
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--batch_size", 0), "--batch_size is 0, expected 1 or more"),
        (("--seconds", "nan"), "--seconds is nan, expected more than 0"),
        (("--precision", "fp8"), "invalid choice: 'fp8'"),
        (("--scratch", "missing"), "missing is no folder"),
        (("--videos", 10**9), "name another folder with --scratch, or fewer --videos"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is(run, flags, told):
    result = run("tools.benchmark", "--json", "--gpu", "cpu", *flags, status=2)
    assert told in result.stderr
    assert result.stdout == ""
