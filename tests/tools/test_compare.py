"""Comparisons through ``python -m tools.compare``: real runs, killed and resumed, and the tables of their figures."""

import csv
import json
import os
import re
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from configs.variants import variants_of
from engine.evaluation.measures import Measures
from tests.processes import ROOT, Process, finished
from tests.readable import assert_files_readable
from tools.compare.local import gpu_flags
from tools.compare.plan import Condition, Plan, Run, make_plan, read_plan, value_flags, variant_flags
from tools.compare.results import FIGURES, Result, differences, is_finished, read_result, summary
from tools.compare.tables import write_tables
from utils.errors import InputError

COMPARED = ("--compare", "lr=1e-3,3e-3", "--seeds", 2)


@pytest.fixture(scope="module")
def comparison(data_root, small_config):
    """The command line of a small comparison."""

    def build(out, *more, compared=COMPARED):
        own = ("--setting", "supervised", "--data_root", data_root, "--out", out)
        passed = ("--config", small_config("supervised"), "--gpu", "cpu", "--n_epoch", 2, "--print_freq", 1)
        return [str(argument) for argument in (*own, *compared, *more, "--", *passed, "--save_seconds", 0)]

    return build


@pytest.fixture(scope="module")
def whole(run, comparison, tmp_path_factory):
    """The folder of a comparison that was never stopped. Read it, do not change it."""
    out = tmp_path_factory.mktemp("compare") / "whole"
    result = run("tools.compare", *comparison(out))
    assert "4 runs, 0 of them finished" in result.stderr
    assert re.findall(r"comparing \[(\d)/4\] (\S+), seed (\d): finished ETA", result.stderr) == [
        ("1", "lr=1e-3", "1"),
        ("2", "lr=3e-3", "1"),
        ("3", "lr=1e-3", "2"),
        ("4", "lr=3e-3", "2"),
    ]
    assert result.stdout.splitlines() == [str(out / f"table.{kind}") for kind in ("csv", "md", "html")]
    assert_files_readable(out, ".csv", ".md", ".html")
    return out


def table_of(out):
    """The rows of ``table.csv``, times aside."""
    with open(out / "table.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != "seconds_per_epoch"} for row in rows]


def page_of(out):
    """The text of ``table.md``, times aside."""
    return re.sub(r"\| [\d.]+ ± [\d.]+ \|\n", "| |\n", (out / "table.md").read_text().split("## Size and time")[0])


def stop_in_training(command, number):
    """Start a comparison, and send it a signal while a run trains; gives its status, what it said, and its children."""
    out = Path(command[command.index("--out") + 1])
    for log in out.glob("*/seed-*.log"):
        log.unlink()
    with Process("tools.compare", *command) as process:
        while True:
            time.sleep(0.05)
            assert not process.ended(), process.stderr.read()
            children = psutil.Process(process.pid).children()
            if any(re.search(r"^epoch \d/2 \[", log.read_text(), re.MULTILINE) for log in out.glob("*/seed-*.log")):
                break
        process.send_signal(number)
        said = process.stderr.read()
    return process.returncode, said, children


@pytest.mark.slow
def test_comparison_that_is_stopped_and_killed_ends_with_the_tables_of_an_unbroken_one(
    run, comparison, whole, tmp_path
):
    """Its runs save their state and end with it, even if it is killed with SIGKILL. Those of one seed were finished."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("seed-1*", "table.*"))
    command = comparison(tmp_path, "--jobs", 2)
    status, said, children = stop_in_training(command, signal.SIGINT)
    assert status == 130
    assert "stopping 2 runs, which save their state" in said
    assert "Traceback" not in said
    assert children
    assert not any(child.is_running() for child in children)
    assert any("SIGTERM: stopped and saved" in log.read_text() for log in tmp_path.glob("*/seed-1.log"))

    status, _, children = stop_in_training(command, signal.SIGKILL)
    assert status == -signal.SIGKILL
    assert children  # one or two: a run that had only its last batches to do may have ended before
    assert not psutil.wait_procs(children, timeout=60)[1]

    run("tools.compare", *command)
    assert table_of(tmp_path) == table_of(whole)
    assert page_of(tmp_path).replace(str(tmp_path), "") == page_of(whole).replace(str(whole), "")

    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/seed-*/*")}
    result = run("tools.compare", *command)
    assert "4 runs, 4 of them finished" in result.stderr
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/seed-*/*")} == before
    assert table_of(tmp_path) == table_of(whole)


@pytest.mark.slow
def test_table_has_the_figures_of_the_best_val_epoch(whole):
    rows = table_of(whole)
    runs = [(condition, seed) for condition in ("lr=1e-3", "lr=3e-3") for seed in ("1", "2")]
    assert [(row["condition"], row["seed"]) for row in rows] == runs
    for row in rows:
        folder = whole / row["condition"] / f"seed-{row['seed']}"
        with open(folder / "metrics.csv", newline="") as file:
            epochs = list(csv.DictReader(file))
        best = max(epochs, key=lambda epoch: float(epoch["val_accuracy"]))
        assert row["best_val_epoch"] == best["epoch"]
        for name in Measures._fields:
            assert row[f"test_{name}"] == best[f"test_{name}"]
        assert float(row["best_test_accuracy"]) == max(float(epoch["test_accuracy"]) for epoch in epochs)
        config = json.loads((folder / "config.json").read_text())
        assert config["training"]["lr"] == float(row["condition"].partition("=")[2])
        assert config["training"]["seed"] == int(row["seed"])
        assert f"{int(row['parameters']):,} parameters" in (folder / "train.log").read_text()


@pytest.mark.slow
def test_page_is_self_contained_and_names_every_network(whole):
    page = (whole / "table.html").read_text(encoding="utf-8")
    assert set(re.findall(r'(?:src|href)="([^"]{1,15})', page)) == {"data:image/png;", "data:,"}
    for name in ("lr=1e-3", "lr=3e-3", "event everywhere", "all background"):
        assert f'<th scope="row">{name}</th>' in page
        assert f"\n| {name} | " in (whole / "table.md").read_text(encoding="utf-8")
    assert "Missing" not in page


@pytest.mark.slow
def test_failed_run_is_named_and_the_others_go_on(comparison, tmp_path, run):
    """The cores are divided among the runs; the tables say which run is missing."""
    command = comparison(tmp_path, "--jobs", 2, "--seeds", 1, compared=("--compare", "features=device,ram"))
    result = finished("tools.compare", *command, set_up=partial(torch.set_num_threads, 4))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    message = result.stderr.splitlines()[-1]
    last_line = (tmp_path / "features=device/seed-1.log").read_text().splitlines()[-1]
    assert last_line.startswith("error: ")
    assert message.startswith(f"features=device, seed 1 failed: {last_line} (")
    assert "features=ram, seed 1: finished" in result.stderr
    config = json.loads((tmp_path / "features=ram/seed-1/config.json").read_text())
    assert config["threads"] == min(2, len(os.sched_getaffinity(0)))

    for path in tmp_path.glob("table.*"):
        path.unlink()
    result = run("tools.compare", "--table", tmp_path)
    missing = "features=device, seed 1 (0 of 2 epochs)"
    assert f"missing in the tables: {missing}" in result.stderr
    for name in ("table.md", "table.html"):
        assert missing in (tmp_path / name).read_text(encoding="utf-8")
    absent, present = table_of(tmp_path)
    assert (absent["condition"], absent["epochs"], absent["test_auc"]) == ("features=device", "0", "")
    assert (present["epochs"], present["of_epochs"]) == ("2", "2")


# Bad input


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--seed", "3"), "--seed: is set by the comparison"),
        (("--resume=auto",), "--resume=auto: is set by the comparison"),
        (("--lr", "1e-3"), "--lr: is set by the comparison"),
        (("--clip_gradient", "0"), "clip_gradient is 0.0, expected more than 0"),
    ],
)
def test_arguments_that_the_comparison_sets_are_refused(data_root, more, message):
    with pytest.raises(InputError, match=re.escape(message)):
        make_plan("supervised", data_root, more, 1, value_flags(["lr=1e-3,3e-3"]))


def test_argument_that_the_entry_script_does_not_have_is_refused(run, comparison, tmp_path):
    result = run("tools.compare", *comparison(tmp_path / "out"), "--nothing", status=2)
    assert "unrecognized arguments: --nothing" in result.stderr
    assert not (tmp_path / "out").exists()


def test_folder_of_another_comparison_is_refused(run, comparison, tmp_path):
    plan = Plan("weakly", "data", [], 1, {"lr=1e-3": Condition(["--lr=1e-3"], 2, 10)}, {})
    plan.write(tmp_path)
    result = run("tools.compare", *comparison(tmp_path), status=2)
    assert "holds a comparison with setting weakly, not supervised: name another --out" in result.stderr
    assert read_plan(tmp_path) == plan


def test_folder_without_a_comparison_has_no_table(run, tmp_path):
    assert "has no compare.json" in run("tools.compare", "--table", tmp_path, status=2).stderr
    (tmp_path / "compare.json").write_text('{"setting": "weakly"}')
    assert "compare.json: is damaged" in run("tools.compare", "--table", tmp_path, status=2).stderr


def test_values_are_combined():
    assert value_flags(["lr=1e-4,3e-4", "b=16,128"]) == {
        "lr=1e-4,b=16": ["--lr=1e-4", "--b=16"],
        "lr=1e-4,b=128": ["--lr=1e-4", "--b=128"],
        "lr=3e-4,b=16": ["--lr=3e-4", "--b=16"],
        "lr=3e-4,b=128": ["--lr=3e-4", "--b=128"],
    }
    assert list(value_flags(["config=configs/weak.json"])) == ["config=configs_weak.json"]
    for text in ("lr", "lr=", "=3", "lr=1,,2"):
        with pytest.raises(InputError, match="expected FLAG=VALUE,VALUE"):
            value_flags([text])


def test_runs_at_a_time_get_a_gpu_each():
    run = Run("full", 1, Path("seed-1"), ("supv_main.py", "--b", "16"), 1)
    assert [gpu_flags(run, slot, gpus=2) for slot in range(3)] == [("--gpu", "0"), ("--gpu", "1"), ("--gpu", "0")]
    assert gpu_flags(run, 0, gpus=1) == ()
    assert gpu_flags(run._replace(command=("supv_main.py", "--gpu=cpu")), 1, gpus=2) == ()


def test_plans_for_one_folder_are_merged(tmp_path):
    one, two = (
        Plan("weakly", "data", ["--b", "16"], seeds, {name: Condition([f"--{name}"], 2, 10)}, {})
        for name, seeds in (("lr=1", 3), ("lr=2", 2))
    )
    both = two.merged(one, tmp_path)
    assert both.reference == "lr=1"
    assert [(run.seed, run.condition) for run in both.runs(tmp_path)] == [
        (seed, name) for seed in (1, 2, 3) for name in ("lr=1", "lr=2")
    ]
    both.write(tmp_path)
    assert read_plan(tmp_path) == both


def test_all_variants_are_compared_with_the_full_network():
    flags = variant_flags(["all"], "weakly")
    assert list(flags) == ["full", *variants_of("weakly")]
    assert flags["full"] == []
    assert flags["mend-loss"] == ["--variant", "mend-loss"]
    assert variant_flags(["no-a2v+no-v2a"], "supervised")["no-a2v+no-v2a"] == ["--variant", "no-a2v", "no-v2a"]


@pytest.mark.parametrize("setting", ["supervised", "weakly"])
def test_every_variant_can_be_planned_and_has_the_size_of_its_network(wide_data_root, setting):
    conditions = make_plan(setting, wide_data_root, [], 1, variant_flags(["all"], setting)).conditions
    full = conditions["full"].parameters
    mended = {name for name in conditions if name.startswith("mend-")}
    assert all(conditions[name].parameters <= full for name in conditions)
    assert all(conditions[name].parameters == full for name in mended - {"mend-gates"})
    assert conditions["no-a2v"].parameters < full


def test_variant_of_the_other_setting_is_refused_before_anything_runs(run, comparison, tmp_path):
    result = run("tools.compare", *comparison(tmp_path / "out", compared=("--variants", "mend-pooling")), status=2)
    assert "the supervised setting has no variant mend-pooling" in result.stderr
    assert not (tmp_path / "out").exists()


# Statistics


def results_of(condition, values, tmp_path):
    """Complete results whose figures are all the same number, by seed."""
    return [
        Result(
            Run(condition, seed, tmp_path, (), 1),
            epochs=1,
            measures=Measures(*[value] * len(Measures._fields)),
            best_test_accuracy=value,
            seconds_per_epoch=value,
        )
        for seed, value in values.items()
    ]


def test_intervals_are_those_of_students_t(tmp_path):
    from scipy import stats  # a second of each process that collects tests, if it were above

    one = results_of("one", {1: 80.0, 2: 83.0, 3: 81.5, 4: 86.0}, tmp_path)
    other = results_of("other", {2: 80.0, 3: 82.0, 4: 81.0, 5: 70.0}, tmp_path)
    assert summary(one).keys() == set(FIGURES)
    low, high = stats.ttest_1samp([80, 83, 81.5, 86], 0).confidence_interval()
    for figure in summary(one).values():
        assert (figure.mean - figure.half_width, figure.mean + figure.half_width) == pytest.approx((low, high))
    low, high = stats.ttest_rel([83, 81.5, 86], [80, 82, 81]).confidence_interval()
    for figure in differences(one, other).values():
        assert (figure.mean - figure.half_width, figure.mean + figure.half_width) == pytest.approx((low, high))


def test_one_seed_has_a_mean_without_an_interval(tmp_path):
    (figure, *_) = summary(results_of("one", {1: 80.0}, tmp_path)).values()
    assert figure.mean == 80
    assert figure.half_width != figure.half_width
    (figure, *_) = summary([]).values()
    assert figure.mean != figure.mean


# Runs that are not whole


def test_run_that_is_missing_or_damaged_is_not_finished(trained, tmp_path):
    finished = Run("full", 1, trained("supervised"), (), 3)
    assert is_finished(finished)
    assert not is_finished(finished._replace(epochs=4))
    assert not is_finished(finished._replace(folder=tmp_path))
    (tmp_path / "last.pth.tar").write_bytes((trained("supervised") / "last.pth.tar").read_bytes()[:20000])
    assert not is_finished(finished._replace(folder=tmp_path))


def test_run_of_release_1_0_has_its_accuracy_alone(tmp_path):
    release = ROOT / "tests/release_1_0/supervised"
    result = read_result(Run("full", 1, release, (), 4))
    assert (result.epochs, result.complete, result.best_val_epoch) == (2, False, 1)
    assert result.measures.accuracy == 40
    assert result.measures.auc != result.measures.auc


def test_epoch_is_chosen_by_names_if_the_runs_select_by_them(trained, tmp_path):
    with open(trained("weakly") / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, named, accuracy in zip(rows, (50, 75, 75), (90, 10, 20), strict=True):
        row.update(val_named=named, val_accuracy=accuracy)
    with open(tmp_path / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    run = Run("full", 1, tmp_path, (), 3)
    assert read_result(run).best_val_epoch == 1
    assert read_result(run._replace(select="names")).best_val_epoch == 2  # the first of equals
    assert read_result(run).measures.named == float(rows[0]["test_named"])


def test_damaged_metrics_are_named(tmp_path):
    (tmp_path / "metrics.csv").write_text("epoch,val_accuracy\n1,high\n")
    with pytest.raises(InputError, match=r"metrics\.csv: is not the metrics of a run"):
        read_result(Run("full", 1, tmp_path, (), 4))


def test_tables_are_drawn_before_any_run_has_ended(tmp_path):
    write_tables(Plan("weakly", "data", [], 2, {"full": Condition([], 2, 10)}, {}), tmp_path)
    assert "full, seed 1 (0 of 2 epochs); full, seed 2 (0 of 2 epochs)" in (tmp_path / "table.md").read_text()


# Slurm: its commands are stand-ins that write down what they get; what they would start, runs.


@pytest.mark.slow
def test_slurm_gets_one_job_array_whose_preempted_jobs_resume(comparison, slurm, whole, tmp_path):
    variables, calls = slurm
    out = tmp_path / "out"
    flags = ("--cluster", "slurm", "--partition", "gpus", "--gpus", 2, "--cpus", 6, "--hours", 1.5, "--jobs", 3)
    result = finished("tools.compare", *comparison(out, *flags), environment=variables)
    assert result.returncode == 0, result.stderr
    assert "job array 12 submitted" in result.stderr
    (submission,) = (path for path in calls.iterdir() if path.suffix == ".sh")
    parameters = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", submission.read_text(), re.MULTILINE))
    assert parameters["array"] == "0-3%3"
    assert parameters["partition"] == "gpus"
    assert parameters["gpus-per-node"] == "2"
    assert parameters["cpus-per-task"] == "6"
    assert parameters["time"] == "90"
    assert parameters["signal"] == "USR2@90"

    # The first job, as Slurm starts it: preempted once, requeued, and run to its end.
    job = ("submitit.core._submit", out / "slurm")
    inside = {"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0", "SLURM_PROCID": "0"}
    variables = {**variables, **inside, "SUBMITIT_EXECUTOR": "slurm"}
    log = out / "lr=1e-3/seed-1.log"
    with Process(*job, environment=variables) as process:
        while not (log.exists() and "epoch 1/2 [2/" in log.read_text()):
            assert not process.ended(), process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGUSR2)
    assert (calls / "scontrol").read_text() == "requeue 12_0\n"
    assert "SIGTERM: stopped and saved" in log.read_text()
    result = finished(*job, environment=variables)
    assert result.returncode == 0, result.stderr
    assert "resuming at epoch 1" in log.read_text()
    run = next(run for run in read_plan(out).runs(out) if (run.condition, run.seed) == ("lr=1e-3", 1))
    assert is_finished(run)
    unbroken = read_result(run._replace(folder=whole / "lr=1e-3/seed-1"))
    assert read_result(run).measures == unbroken.measures


def test_machine_without_slurm_is_named(run, comparison, tmp_path):
    result = run("tools.compare", *comparison(tmp_path / "out", "--cluster", "slurm"), status=2)
    assert "the jobs cannot be submitted" in result.stderr
