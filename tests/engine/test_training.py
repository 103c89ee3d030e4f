"""Training through the entry scripts: the files a run leaves, resuming it and repeating it."""

import contextlib
import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
import warnings
from functools import partial
from shlex import quote

import numpy as np
import pytest
import torch

from dataset.doctor.features import SAMPLED
from engine.evaluation.measures import Measures
from engine.run_folder import RunFolder
from tests.conftest import CONFIGS, SCRIPTS, write_data
from tests.processes import ROOT, Process, finished
from tests.readable import assert_files_readable, assert_readable
from tests.reference import seeded

TERMS = {
    "supervised": ["loss", "is_event", "event", "um_gate", "um_score", "mm_gate", "mm_score"],
    "weakly": ["loss", "event", "gate"],
}
TIMES = ("seconds", "videos_per_s")


def metrics(folder):
    """The rows of ``metrics.csv``, times aside."""
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def weights(path):
    return torch.load(path, weights_only=True)["weights"]


def assert_same_run(one, other):
    assert metrics(one) == metrics(other)
    ours, theirs = weights(one / "last.pth.tar"), weights(other / "last.pth.tar")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def arguments(data_root, small_config):
    """The command line of the shared trained run, in another folder."""

    def build(setting, folder, *more):
        return (
            *("--gpu", "cpu", "--data_root", data_root, "--config", small_config(setting)),
            *("--snapshot_pref", folder, *more),
        )

    return build


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_run_folder_holds_what_the_readme_says(trained, setting):
    folder = trained(setting)
    names = {path.name for path in folder.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert names - events == {"best.pth.tar", "last.pth.tar", "train.log", "metrics.csv", "config.json", ".lock"}

    rows = metrics(folder)
    own = ["epoch", *TERMS[setting], "train_accuracy", "val_accuracy", "test_accuracy", "lr"]
    figures = [f"{split}_{name}" for split in ("val", "test") for name in Measures._fields[1:]]
    assert list(rows[0]) == [*own, *figures]
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]

    config = json.loads((folder / "config.json").read_text())
    assert config["model"]["d_model"] == 32

    assert_files_readable(folder, ".log", ".csv")
    log = (folder / "train.log").read_text()
    assert "features: ram (held in memory" in log  # said before the folder was made
    assert log.index("features: ") < log.index(" training videos, ")


@pytest.mark.parametrize(
    ("column", "said"),
    [(0, ["Localization AUC", "background seconds"]), (28, ["Localization AUC"])],
    ids=["events alone", "background alone"],
)
def test_log_leaves_out_what_a_split_cannot_show(make_trainer, caplog, column, said):
    """Videos with one class throughout place nothing; without background, no background second can be right."""
    caplog.set_level("INFO", "engine")
    trainer = make_trainer("supervised", "fp32")
    labels = trainer.feeds.val.held.labels
    labels.copy_(torch.eye(29)[column].expand_as(labels))
    trainer.measure("val", trainer.evaluate("val"))
    assert caplog.text.count("val: Evaluation results (acc): ") == 1
    assert_readable(caplog.text)
    assert not any(words in caplog.text for words in said)


def test_config_records_the_build_of_torch(tmp_path, monkeypatch):
    """PyPI's torch calls itself 2.13.0+cu130; its package's metadata, put first here, call it 2.13.0."""
    package = tmp_path / "torch-2.13.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch, "__version__", "2.13.0+cu130")
    run_folder = RunFolder(tmp_path / "run")
    run_folder.claim(overwrite=False)
    run_folder.start({})
    run_folder.close()
    assert json.loads(run_folder.config.read_text())["versions"]["torch"] == "2.13.0+cu130"


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_checkpoints_hold_what_they_promise(trained, setting):
    best, last = (torch.load(trained(setting) / f"{name}.pth.tar", weights_only=True) for name in ("best", "last"))
    for checkpoint in (best, last):
        assert (checkpoint["format"], checkpoint["version"]) == ("magan", 2)
        values = "format version setting config event_threshold class_names segments extraction scores weights"
        # Each of them once: scope and precision are in the config.
        assert checkpoint.keys() - {"training"} == set(values.split())
        assert checkpoint["setting"] == setting
        assert checkpoint["config"]["model"]["d_model"] == 32
        assert checkpoint["class_names"] == [f"event {k:02d}" for k in range(28)]
    assert "training" not in best
    run = {"optimizer", "schedule", "state", "random", "data", "processes"}
    assert last["training"].keys() == run


def test_best_is_the_epoch_that_select_asks_for(run, arguments, tmp_path):
    run("supv_main.py", *arguments("supervised", tmp_path, "--select", "val"))
    rows = metrics(tmp_path)
    best = max(rows, key=lambda row: float(row["val_accuracy"]))  # max takes the first of equals
    assert torch.load(tmp_path / "best.pth.tar", weights_only=True)["scores"]["epoch"] == int(best["epoch"])
    log = (tmp_path / "train.log").read_text()
    assert f"test at the best val epoch:  {float(best['test_accuracy']):.4f}% (epoch {best['epoch']}" in log
    on_test = max(rows, key=lambda row: float(row["test_accuracy"]))
    assert f"best on test:                {float(on_test['test_accuracy']):.4f}% (epoch {on_test['epoch']})" in log

    # The table of measures has both epochs.
    epochs = dict.fromkeys((best["epoch"], on_test["epoch"]))
    summary = log[log.index("best on test: ") :].splitlines()
    assert next(line.split() for line in summary if "event everywhere" in line)[: 2 * len(epochs)] == [
        word for epoch in epochs for word in ("epoch", epoch)
    ]
    cells = next(line.split() for line in summary if line.startswith("localization AUC"))
    assert [float(cell) for cell in cells[2:][: len(epochs)]] == [
        pytest.approx(float(rows[int(epoch) - 1]["test_auc"]), abs=5e-4) for epoch in epochs
    ]


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_same_seed_gives_the_same_figures_and_weights(run, arguments, trained, tmp_path, setting):
    """Also whoever reads the features: worker processes here, the main process there."""
    run(SCRIPTS[setting], *arguments(setting, tmp_path, "--num_workers", 2))
    assert_same_run(tmp_path, trained(setting))


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_run_resumed_after_an_epoch_ends_as_one_that_never_stopped(run, arguments, trained, tmp_path, setting):
    run(SCRIPTS[setting], *arguments(setting, tmp_path, "--n_epoch", 1))
    run(
        SCRIPTS[setting],
        *("--gpu", "cpu", "--data_root", arguments(setting, tmp_path)[3]),
        *("--resume", tmp_path / "last.pth.tar", "--n_epoch", 3),
    )
    assert_same_run(tmp_path, trained(setting))
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["training"]["n_epoch"] == 3
    assert config["arguments"]["resume"] == str(tmp_path / "last.pth.tar")


@pytest.mark.parametrize(
    ("signal_number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_run_stopped_by_a_signal_in_an_epoch_resumes_exactly(run, arguments, trained, tmp_path, signal_number, status):
    with Process("supv_main.py", *arguments("supervised", tmp_path, "--print_freq", 1)) as process:
        said = process.read_until("epoch 2/3 [1/3]")
        process.send_signal(signal_number)
        said += process.stderr.read()
    assert process.returncode == status, said
    assert f"resume with --resume {quote(str(tmp_path / 'last.pth.tar'))}" in said
    state = torch.load(tmp_path / "last.pth.tar", weights_only=True)["training"]["state"]
    assert state["epoch"] == 2
    assert 0 < state["iteration"] < 3
    assert len(metrics(tmp_path)) == 1

    root = arguments("supervised", tmp_path)[3]
    run("supv_main.py", "--gpu", "cpu", "--data_root", root, "--resume", tmp_path / "last.pth.tar")
    assert_same_run(tmp_path, trained("supervised"))


def test_run_is_resumed_only_as_it_began(run, trained, data_root):
    last = trained("supervised") / "last.pth.tar"
    before = last.read_bytes()
    result = run("supv_main.py", "--gpu", "cpu", "--data_root", data_root, "--resume", last, "--lr", 0.5, status=2)
    assert "lr 0.001, not 0.5" in result.stderr
    assert last.read_bytes() == before


def test_folder_that_holds_a_run_is_overwritten_only_on_request(run, arguments, tmp_path):
    run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    result = run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1), status=2)
    assert "already holds a run" in result.stderr
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1, "--overwrite"))
    assert len(metrics(tmp_path)) == 1


@pytest.mark.parametrize("source", ["best", "published"])
def test_weights_alone_start_a_new_run_that_says_so(
    run, trained, data_root, wide_data_root, small_config, tmp_path, source
):
    if source == "best":
        data, path, config = data_root, trained("supervised") / "best.pth.tar", small_config("supervised")
    else:
        data, path, config = wide_data_root, tmp_path / "published.pth.tar", ROOT / "configs" / CONFIGS["supervised"]
        torch.save(seeded.published_checkpoint("supervised"), path)
    result = run(
        "supv_main.py",
        *("--gpu", "cpu", "--data_root", data, "--config", config, "--resume", path, "--n_epoch", 1),
        *("--snapshot_pref", tmp_path / "run", "--batch_size", 48, "--num_workers", 0),
    )
    assert f"{path}: a new run from these weights" in result.stderr
    assert [row["epoch"] for row in metrics(tmp_path / "run")] == ["1"]


def test_evaluation_every_few_epochs_includes_the_last_one(run, arguments, tmp_path):
    run("supv_main.py", *arguments("supervised", tmp_path, "--eval_freq", 2))
    assert [bool(row["test_accuracy"]) for row in metrics(tmp_path)] == [False, True, True]


@pytest.mark.parametrize("setting", seeded.SETTINGS)
@pytest.mark.parametrize("precision", ["bf16", "fp64"])
def test_other_precisions_and_the_published_scope_train(run, arguments, tmp_path, setting, precision):
    run(
        SCRIPTS[setting],
        *arguments(setting, tmp_path, "--n_epoch", 1, "--scope", "batch", "--precision", precision),
    )
    checkpoint = torch.load(tmp_path / "best.pth.tar", weights_only=True)
    config = checkpoint["config"]
    assert (config["model"]["scope"], config["training"]["precision"]) == ("batch", precision)
    dtype = torch.float64 if precision == "fp64" else torch.float32
    assert {tensor.dtype for tensor in checkpoint["weights"].values()} == {dtype}


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_training_and_evaluation_raise_no_warning(arguments, data_root, tmp_path, setting):
    """Deprecations of torch above all. Autocast runs, and in one setting a process reads the features."""
    flags = ("--n_epoch", 1, "--precision", "bf16", "--features", "stream")
    flags += ("--num_workers", int(setting == "supervised"))  # the processes that read are those of both
    evaluation = ("--gpu", "cpu", "--data_root", data_root, "--evaluate", "--resume", tmp_path / "best.pth.tar")
    program, strict = (SCRIPTS[setting], *map(str, arguments(setting, tmp_path, *flags))), ("-W", "error")
    if setting == "supervised":  # its imports, which are those of both, may not warn either
        training = subprocess.run([sys.executable, *strict, *program], cwd=ROOT, capture_output=True, text=True)
    else:
        training = finished(*program, set_up=partial(warnings.simplefilter, "error"))
    for result in (training, finished(SCRIPTS[setting], *evaluation, set_up=partial(warnings.simplefilter, "error"))):
        assert result.returncode == 0, result.stderr
        assert "Warning" not in result.stderr


def test_learning_rate_is_halved_after_the_milestones(run, data_root, small_config, tmp_path):
    config = json.loads(small_config("supervised").read_text())
    config["training"] |= {"lr_milestones": [1, 2], "batch_size": 48}
    (tmp_path / "config.json").write_text(json.dumps(config))
    run(
        "supv_main.py",
        *("--gpu", "cpu", "--data_root", data_root, "--config", tmp_path / "config.json"),
        *("--snapshot_pref", tmp_path / "run"),
    )
    assert [float(row["lr"]) for row in metrics(tmp_path / "run")] == [1e-3, 5e-4, 2.5e-4]


def test_progress_is_plain_lines_in_a_pipe(run, arguments, tmp_path):
    result = run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1, "--print_freq", 2, "--b", 8))
    lines = [line for line in result.stderr.splitlines() if line.startswith("epoch 1/1 [")]
    assert [line.split("[")[1].split("]")[0] for line in lines] == ["2/6", "4/6", "6/6"]
    assert all(part in lines[0] for part in ("loss", "mm_score", "acc", "videos/s", "ETA"))
    assert "\r" not in result.stderr
    assert result.stdout == ""


def test_non_finite_features_stop_the_run_with_their_rows(run, arguments, small_config, tmp_path):
    import h5py

    root = tmp_path / "data"
    write_data(root, videos=40, map_size=1)
    with h5py.File(root / "train_order.h5") as file:
        looked_at = np.linspace(0, 39, SAMPLED).round()  # before the run, which would then not start
        row = next(int(row) for row in file["order"] if row not in looked_at)
    with h5py.File(root / "audio_feature.h5", "r+") as file:
        file["avadataset"][row, 3, 5] = float("nan")
    result = run(
        "supv_main.py",
        *("--gpu", "cpu", "--data_root", root, "--config", small_config("supervised")),
        *("--snapshot_pref", tmp_path / "run", "--features", "stream"),
        status=2,
    )
    assert "not finite in epoch 1, iteration" in result.stderr
    rows = result.stderr.split("rows [")[1].split("]")[0].split(", ")
    assert f"{row} (synthetic{row:05d})" in rows
    assert len(rows) <= 16


@pytest.mark.parametrize(
    ("arguments_given", "said"),
    [
        (["--evaluate"], "--evaluate needs the checkpoint"),
        (["--lr", "fast"], "--lr"),
        (["--lr", "-1"], "lr is -1.0, expected more than 0"),
        (["--b", "0"], "batch_size is 0, expected 1 or more"),
        (["--gpu", "one"], "--gpu is 'one'"),
        (["--scope", "frame"], "--scope"),
        (["--learning_rate", "1"], "unrecognized arguments"),
        (["--resume", "nowhere.pth.tar"], "nowhere.pth.tar: does not exist"),
        (["--resume", "Exps"], "Exps: is a directory, expected a checkpoint, such as best.pth.tar in it"),
        (["--config", "nowhere.json"], "nowhere.json: cannot be read"),
    ],
)
def test_wrong_flags_are_one_sentence_and_status_2(run, tmp_path, arguments_given, said):
    result = run("supv_main.py", *arguments_given, "--snapshot_pref", tmp_path / "run", status=2)
    assert said in result.stderr
    assert not (tmp_path / "run").exists()


def test_second_signal_ends_the_program_at_once(arguments, tmp_path):
    with Process("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 10_000)) as process:
        process.read_until("epoch 1/")
        for _ in range(20):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.01)
        process.stderr.read()
    assert process.returncode in (143, -signal.SIGTERM)


def test_progress_is_a_bar_on_a_terminal(arguments, tmp_path):
    flags = ("--n_epoch", 1, "--b", 8)
    terminal, program_side = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 200))
    with Process("supv_main.py", *arguments("supervised", tmp_path, *flags), errors=program_side) as process:
        os.close(program_side)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's end reads as an error
            while data := os.read(terminal, 4096):
                shown += data
    os.close(terminal)
    assert process.returncode == 0
    shown = shown.decode()
    assert re.search(r"epoch 1/1 \d/6 \|.*\| ETA", shown)
    assert "epoch 1/1 [2/6]" not in shown
    assert "epoch 1/1 [2/6]" in (tmp_path / "train.log").read_text()
