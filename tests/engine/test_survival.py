"""Runs that are killed, run out of disk, or are resumed with the wrong flags: nothing saved is lost or changed."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from functools import partial

import h5py
import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dataset.batches import Batches
from engine.checkpoint import BackgroundWriter, save_checkpoint
from engine.resume import CHANGEABLE
from engine.run_folder import RunFolder
from model.checkpoint import load_checkpoint
from tests.conftest import SCRIPTS, write_data
from tests.engine.test_training import TIMES, metrics
from tests.processes import Process, finished
from tests.reference import seeded
from utils.errors import InputError

KILLS = int(os.environ.get("MAGAN_TEST_KILLS", "11"))  # in each setting
SAVE_ALWAYS = ("--save_seconds", 0)
EPOCHS = 6 + KILLS // 4  # of six batches each: more than are done between the kills


def state_of(folder):
    """Where the run of a folder stands: (epoch, iteration)."""
    state = load_checkpoint(folder / "last.pth.tar").training["state"]
    return state["epoch"], state["iteration"]


def assert_same_values(one, other):
    """Whatever two checkpoints hold, but for the times, and for what no figure depends on."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one.keys() - set(TIMES) - CHANGEABLE:
            assert_same_values(one[name], other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for ours, theirs in zip(one, other, strict=True):
            assert_same_values(ours, theirs)
    else:
        assert one == other


def assert_same_end(one, other):
    """Bit for bit: figures, weights, optimizer, schedule, best so far and random states; and the best weights."""
    assert metrics(one) == metrics(other)
    for name in ("last.pth.tar", "best.pth.tar"):
        assert_same_values(*(torch.load(folder / name, weights_only=True) for folder in (one, other)))


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def arguments(data_root, small_config):
    """The flags of a small run."""

    def build(setting, folder, *more):
        flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config(setting), "--print_freq", 1)
        return tuple(map(str, (*flags, "--snapshot_pref", folder, *more)))

    return build


# Killed


def kill_somewhere(command, chosen):
    """Start a run and kill it: after a random time while it starts, or some steps later, in the middle of something.

    Returns:
        The exit status.
    """
    with Process(*command) as process:
        if chosen.random() < 0.25:
            said = ""
            time.sleep(chosen.uniform(0, 0.5))
        else:
            said = "".join(process.read_until("epoch ") for _ in range(chosen.randint(1, 3)))
            time.sleep(chosen.uniform(0, 0.2))
        process.kill()
        said += process.stderr.read()
    assert "Traceback" not in said, said
    return process.returncode


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_run_that_is_killed_again_and_again_ends_as_one_that_never_stopped(run, arguments, tmp_path, setting):
    chosen = random.Random(f"{setting} {KILLS}")
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    flags = ("--n_epoch", EPOCHS, "--b", 8)
    command = arguments(setting, killed, *flags, "--resume", "auto", *SAVE_ALWAYS)
    before, kills = (0, 0), 0
    for _ in range(KILLS):
        kills += kill_somewhere([SCRIPTS[setting], *command], chosen) == -signal.SIGKILL
        if (killed / "last.pth.tar").exists():
            now = state_of(killed)
            assert now >= before  # what was saved stays saved
            before = now
        if (killed / "best.pth.tar").exists():
            load_checkpoint(killed / "best.pth.tar")
            assert (killed / "last.pth.tar").exists()
        if (killed / "metrics.csv").exists():
            assert [row["epoch"] for row in metrics(killed)] == [str(n + 1) for n in range(len(metrics(killed)))]
    assert kills == KILLS
    assert (1, 0) < before < (EPOCHS, 0)
    run(SCRIPTS[setting], *command)
    assert not list(killed.glob("*.partial"))

    run(SCRIPTS[setting], *arguments(setting, whole, *flags))
    assert_same_end(killed, whole)


# Stopped


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_run_that_is_stopped_after_every_batch_ends_as_one_that_never_stopped(run, arguments, tmp_path, setting):
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    flags = ("--n_epoch", 1, "--b", 8)
    command = arguments(setting, stopped, *flags, "--resume", "auto")
    places = []
    for _ in range(8):
        with Process(SCRIPTS[setting], *command) as process:
            said = process.read_until("epoch 1/1 [")  # a batch is done
            process.send_signal(signal.SIGTERM)
            said += process.stderr.read()
        assert process.returncode in (0, 143), said
        if process.returncode == 0:
            break
        if "stopped and saved" in said:
            places.append(state_of(stopped))
    assert len(places) >= 2  # one or more batches are done before the signal arrives
    assert places == sorted(set(places))
    run(SCRIPTS[setting], *arguments(setting, whole, *flags))
    assert_same_end(stopped, whole)


# Disks and folders


def with_file_size_limit(size, *command):
    """Run a command whose files cannot grow beyond ``size`` bytes, as on a full disk."""
    return finished(*command, set_up=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size)))


def assert_one_sentence(result, *said):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr, result.stderr
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert all(part in last for part in said), last
    assert result.stderr.count("error: ") == 1


@pytest.mark.parametrize(
    ("size", "name"),
    [(100, ""), (1700, ""), (1800, ""), (2000, ""), (5000, "last.pth.tar"), (1_000_000, "last.pth.tar")],
    ids=["config", "log or events", "log or events", "log or events", "log", "checkpoint"],
)
def test_full_disk_ends_a_new_run_in_one_sentence_and_leaves_no_part_of_a_file(arguments, tmp_path, size, name):
    result = with_file_size_limit(size, "supv_main.py", *arguments("supervised", tmp_path / "run", *SAVE_ALWAYS))
    assert_one_sentence(result, f"{tmp_path / 'run' / name}", "cannot be written: File too large")
    left = {path.name for path in (tmp_path / "run").glob("*")}
    assert not left & {"last.pth.tar", "best.pth.tar"}
    assert not [name for name in left if name.endswith(".partial")]


@pytest.mark.slow
def test_full_disk_harms_nothing_that_was_saved(run, arguments, trained, tmp_path):
    """Whatever the disk has no room for: the figures, what the run is resumed with, or the checkpoint."""
    folder = tmp_path / "run"
    run("supv_main.py", *arguments("supervised", folder, "--n_epoch", 1))
    saved = files(folder)
    kept = ["metrics.csv", "last.pth.tar", "best.pth.tar", "config.json"]
    figures = len(saved["metrics.csv"])
    for size, name in ((figures - 50, "metrics.csv"), (figures + 50, "config.json"), (5000, "last.pth.tar")):
        if name == "last.pth.tar":
            kept.remove("config.json")  # which then says what the run was resumed with
        command = arguments("supervised", folder, "--n_epoch", 3, "--resume", "auto", *SAVE_ALWAYS)
        result = with_file_size_limit(size, "supv_main.py", *command)
        assert_one_sentence(result, f"{folder / name}", "cannot be written", "Its previous contents are unharmed")
        left = files(folder)
        assert {name: left[name] for name in kept} == {name: saved[name] for name in kept}
        assert not [name for name in left if name.endswith(".partial")]
    run("supv_main.py", *arguments("supervised", folder, "--n_epoch", 3, "--resume", "auto"))
    assert_same_end(folder, trained("supervised"))


@pytest.mark.parametrize("taken", ["", "run", "run/train.log", "run/last.pth.tar.partial"])
def test_folder_that_cannot_be_written_is_one_sentence(arguments, tmp_path, taken):
    """Also for an administrator, whom no permission stops: a file in a folder's place, or a folder in a file's."""
    if "/" in taken:
        (tmp_path / taken / "something").mkdir(parents=True)
    elif taken:
        (tmp_path / taken).write_text("a file")
    folder = tmp_path / "run" if taken else "/proc/run"
    result = with_file_size_limit(10**9, "supv_main.py", *arguments("supervised", folder))
    assert_one_sentence(result, str(folder), "cannot be written")


def test_folder_below_a_file_is_one_sentence(arguments, tmp_path):
    (tmp_path / "file").write_text("a file")
    command = arguments("supervised", tmp_path / "file" / "run", "--resume", "auto")
    result = with_file_size_limit(10**9, "supv_main.py", *command)
    assert_one_sentence(result, str(tmp_path / "file" / "run"), "cannot be written: Not a directory")


@pytest.mark.slow
def test_folder_that_is_removed_while_the_run_goes_on_is_one_sentence(arguments, tmp_path):
    folder, away = tmp_path / "run", tmp_path / "away"
    command = ["supv_main.py", *arguments("supervised", folder, "--n_epoch", 10_000, *SAVE_ALWAYS)]
    with Process(*command) as process:
        said = process.read_until("epoch 1/")
        folder.rename(away)
        said += process.stderr.read()
    assert_one_sentence(
        subprocess.CompletedProcess(command, process.returncode, "", said), str(folder), "cannot be written"
    )


@pytest.mark.slow
def test_run_goes_on_when_nobody_reads_its_output(arguments, trained, tmp_path):
    """``supv_main.py 2>&1 | head -1``, or a terminal that was closed."""
    with Process("supv_main.py", *arguments("supervised", tmp_path)) as process:
        process.stderr.readline()
        process.stderr.close()
    assert process.returncode == 0
    assert_same_end(tmp_path, trained("supervised"))


def readers_of(run: Process) -> list[psutil.Process]:
    """The processes that read features, which the fork server of a run has started."""
    return [each for each in psutil.Process(run.pid).children(recursive=True) if each.ppid() != run.pid]


@pytest.mark.slow
def test_signal_to_all_processes_of_a_run_that_streams_stops_it_as_one_to_the_run(run, arguments, trained, tmp_path):
    """As ``timeout`` and schedulers send it; the processes that read features may get it first."""
    flags = ("--features", "stream", "--num_workers", 2)
    with Process("supv_main.py", *arguments("supervised", tmp_path, *flags)) as process:
        said = process.read_until("epoch 1/3 [")
        for reader in readers_of(process):
            reader.terminate()
        said += process.read_until("epoch 2/3 [")
        os.killpg(process.pid, signal.SIGTERM)
        said += process.stderr.read()
    assert process.returncode == 143, said
    assert "stopped and saved" in said
    assert "Traceback" not in said
    run("supv_main.py", *arguments("supervised", tmp_path, "--resume", "auto"))
    assert_same_end(tmp_path, trained("supervised"))


@pytest.mark.slow
def test_process_that_reads_features_and_is_killed_ends_the_run_in_one_sentence(arguments, tmp_path):
    flags = ("--features", "stream", "--num_workers", 1, "--n_epoch", 1000)
    with Process("supv_main.py", *arguments("supervised", tmp_path, *flags)) as process:
        said = process.read_until("epoch 2/")
        min(readers_of(process), key=psutil.Process.create_time).kill()  # one that reads for training
        said += process.stderr.read()
    assert process.returncode == 2, said
    assert "error: a process that reads features died" in said
    assert "Traceback" not in said


# Numbers that are not finite


@pytest.mark.slow
def test_bad_row_is_named_and_mending_it_gives_the_run_that_never_stopped(run, small_config, tmp_path):
    root, folder, whole = tmp_path / "data", tmp_path / "run", tmp_path / "whole"
    write_data(root, videos=40, map_size=1)
    flags = ("--gpu", "cpu", "--data_root", root, "--config", small_config("supervised"), "--b", 8, "--n_epoch", 2)
    run("supv_main.py", *flags, "--snapshot_pref", whole)

    with h5py.File(root / "train_order.h5") as file:
        order = file["order"][()]
    epoch = Batches(len(order), 8, json.loads(small_config("supervised").read_text())["training"]["seed"])
    epoch.epoch = 2
    rows = [int(order[index]) for index in epoch.whole()[2]]
    named = ", ".join(f"{row} (synthetic{row:05d})" for row in rows)
    at = (rows[3], 4, 0, 0, 17)
    run("supv_main.py", *flags[:-1], 1, "--snapshot_pref", folder)
    with h5py.File(root / "visual_feature.h5", "r+") as file:
        right = file["avadataset"][at]
        file["avadataset"][at] = float("inf")
    again = (*flags, "--resume", "auto", "--snapshot_pref", folder, "--features", "stream", *SAVE_ALWAYS)
    said = run("supv_main.py", *again, status=2).stderr
    assert f"not finite in epoch 2, iteration 3, whose batch has the rows [{named}] of visual_feature.h5. The" in said
    assert state_of(folder) == (2, 2)  # the last good one
    with h5py.File(root / "visual_feature.h5", "r+") as file:
        file["avadataset"][at] = right
    run("supv_main.py", *again)
    assert_same_end(folder, whole)


@pytest.mark.slow
def test_bad_row_of_the_noisy_videos_is_named_as_one_of_them(run, small_config, tmp_path):
    root = tmp_path / "data"
    write_data(root, videos=28, noisy=40, map_size=1)
    with h5py.File(root / "audio_feature_noisy.h5", "r+") as file:
        file["avadataset"][11, 4, 7] = float("nan")  # no row that is looked at before training
    flags = ("--gpu", "cpu", "--data_root", root, "--config", small_config("weakly"), "--snapshot_pref", tmp_path / "r")
    said = run("weakly_main.py", *flags, status=2).stderr
    assert "features of the train split are not finite" in said
    assert "rows [11] of audio_feature_noisy.h5" in said
    said = run("weakly_main.py", *flags, "--features", "stream", status=2).stderr
    noisy = said.split(" of visual_feature_noisy.h5")[0].rpartition("[")[2].rstrip("]").split(", ")
    assert "11" in noisy


@pytest.mark.slow
@pytest.mark.parametrize("lr", ["1e20", "1e300"])
def test_learning_rate_that_explodes_stops_the_run_and_no_such_weights_are_saved(arguments, tmp_path, lr):
    result = with_file_size_limit(10**9, "supv_main.py", *arguments("supervised", tmp_path, "--lr", lr, *SAVE_ALWAYS))
    assert_one_sentence(result, "not finite", "epoch 1, iteration ", "smaller --lr")
    for name in ("last.pth.tar", "best.pth.tar"):
        if (tmp_path / name).exists():
            weights = load_checkpoint(tmp_path / name).weights
            assert all(weight.isfinite().all() for weight in weights.values())


# Continued, or not


@pytest.mark.slow
def test_figures_and_events_beyond_the_checkpoint_are_cut_off(run, arguments, trained, tmp_path):
    run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1))
    after_one = (tmp_path / "last.pth.tar").read_bytes()
    command = arguments("supervised", tmp_path, "--n_epoch", 3, "--resume", "auto")
    run("supv_main.py", *command)
    (tmp_path / "last.pth.tar").write_bytes(after_one)
    for name in ("last.pth.tar", "metrics.csv"):
        (tmp_path / f"{name}.partial").write_text("what a killed run leaves")
    said = run("supv_main.py", *command).stderr
    assert "resuming at epoch 2, batch 0" in said
    assert_same_end(tmp_path, trained("supervised"))
    assert not list(tmp_path.glob("*.partial"))

    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 3
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    for name in ("loss", "test_accuracy", "lr"):
        assert [event.step for event in events.Scalars(name)] == [1, 2, 3]


@pytest.mark.slow
def test_parts_of_files_that_a_run_left_before_it_first_saved_are_removed(run, arguments, tmp_path):
    for name in ("last.pth.tar.partial", "config.json.partial"):
        (tmp_path / name).write_text("what a killed run leaves")
    run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1, "--resume", "auto"))
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
def test_auto_continues_a_finished_run_by_doing_nothing(run, arguments, trained, tmp_path):
    for name, contents in files(trained("supervised")).items():
        (tmp_path / name).write_bytes(contents)
    run("supv_main.py", *arguments("supervised", tmp_path, "--resume", "auto"))
    assert_same_end(tmp_path, trained("supervised"))


def refused(run, folder, said, *command):
    """See that a command is refused and that it changed nothing."""
    before = files(folder)
    assert said in run("supv_main.py", *command, status=2).stderr
    assert files(folder) == before


def test_auto_does_not_replace_a_checkpoint_that_holds_weights_alone(run, arguments, trained, tmp_path):
    (tmp_path / "last.pth.tar").write_bytes((trained("supervised") / "best.pth.tar").read_bytes())
    command = arguments("supervised", tmp_path, "--resume", "auto")
    refused(run, tmp_path, "holds weights alone, no run to resume", *command)


def test_auto_does_not_replace_the_best_epoch_of_a_run_that_cannot_be_resumed(run, arguments, trained, tmp_path):
    for name, contents in files(trained("supervised")).items():
        if name != "last.pth.tar":
            (tmp_path / name).write_bytes(contents)
    command = arguments("supervised", tmp_path, "--resume", "auto")
    refused(run, tmp_path, "already holds a run (best.pth.tar, metrics.csv): name another folder", *command)


def test_files_of_another_program_are_left_alone(run, arguments, tmp_path):
    foreign = {"thesis.docx.partial": "half", "events.out.tfevents.1.other": "curves", "notes.txt": "notes"}
    for name, contents in foreign.items():
        (tmp_path / name).write_text(contents)
    run("supv_main.py", *arguments("supervised", tmp_path, "--n_epoch", 1))
    assert {name: (tmp_path / name).read_text() for name in foreign} == foreign


@pytest.mark.parametrize("name", ["config.json", "train.log"])
def test_log_or_config_of_another_program_is_not_replaced(run, arguments, tmp_path, name):
    (tmp_path / name).write_text('{"name": "another program"}')
    refused(run, tmp_path, f"holds {name} of another program", *arguments("supervised", tmp_path, "--resume", "auto"))


def test_what_waits_behind_a_checkpoint_that_could_not_be_written_is_not_written(tmp_path):
    """It could say that the other one is there."""
    writer = BackgroundWriter()
    (tmp_path / "best.pth.tar").mkdir()

    def save_both():
        for name in ("best.pth.tar", "last.pth.tar"):
            writer.save(tmp_path / name, {})
        writer.finish()

    with pytest.raises(InputError, match="cannot be written"):
        save_both()
    writer.thread.shutdown()
    assert not (tmp_path / "last.pth.tar").exists()


def test_run_is_resumed_in_its_own_folder_alone(run, data_root, trained, tmp_path):
    """A copy of its last checkpoint somewhere else does not take over what lies there."""
    copy = trained("supervised") / "last.pth.tar"
    for name in ("last.pth.tar", "epoch3.pth.tar"):
        (tmp_path / name).write_bytes(copy.read_bytes())
        flags = ("--gpu", "cpu", "--resume", tmp_path / name, "--n_epoch", 4, "--data_root", data_root)
        refused(run, tmp_path, "belongs to a run, which is resumed in its own folder", *flags)
    (tmp_path / "config.json").write_text("{}")  # a run's folder, but not under this name
    refused(run, tmp_path, "in its own folder from last.pth.tar", *flags)


def test_run_is_resumed_on_its_own_data_alone(run, arguments, trained, tmp_path):
    other = tmp_path / "other"
    write_data(other, seed=2)
    folder = trained("supervised")
    flags = ("--gpu", "cpu", "--resume", folder / "last.pth.tar", "--n_epoch", 4)
    refused(run, folder, f"{other} does not hold the data", *flags, "--data_root", other)


@pytest.mark.parametrize("flag", ["--compile", "--no-cuda_graph"])
@pytest.mark.parametrize("before", [False, True])
def test_run_of_an_earlier_release_is_resumed_with_or_without_a_graph(run, data_root, trained, tmp_path, before, flag):
    """Up to 1.0.0, a run said whether it was compiled, and could not be resumed otherwise."""
    folder = shutil.copytree(trained("supervised"), tmp_path / "run")
    contents = torch.load(folder / "last.pth.tar", weights_only=True)
    contents["training"]["compiled"] = before
    save_checkpoint(folder / "last.pth.tar", contents)
    flags = ("--gpu", "cpu", "--resume", folder / "last.pth.tar", "--n_epoch", 4, "--data_root", data_root)
    run("supv_main.py", *flags, flag)
    assert len(metrics(folder)) == 4


def test_run_is_resumed_by_as_many_processes_alone(run, data_root, trained, tmp_path):
    contents = torch.load(trained("supervised") / "last.pth.tar", weights_only=True)
    contents["training"]["processes"] = 2
    save_checkpoint(tmp_path / "last.pth.tar", contents)
    (tmp_path / "config.json").write_bytes((trained("supervised") / "config.json").read_bytes())
    flags = ("--gpu", "cpu", "--resume", tmp_path / "last.pth.tar", "--n_epoch", 4, "--data_root", data_root)
    refused(run, tmp_path, "has 2 processes, not 1: start as many", *flags)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("epoch", "era", 1),
        lambda text: text.replace("\n2,", "\ntwo,"),
        lambda text: "".join(text.splitlines(keepends=True)[:2]),
        lambda text: text[: len(text) * 2 // 3],
        lambda text: "\0" + text,
        lambda text: text.replace("\n2,", '\n"2,'),
        lambda text: "",
        lambda text: text.splitlines(keepends=True)[0],
    ],
    ids=["column", "number", "row missing", "half", "zero byte", "quote", "empty", "no row"],
)
def test_figures_that_were_changed_by_another_program_are_refused(trained, tmp_path, damage):
    text = damage((trained("supervised") / "metrics.csv").read_text())
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=r"metrics\.csv: is damaged or was changed: .*move it away to resume without"):
        RunFolder(tmp_path).resume({}, first_epoch=4)
    assert (tmp_path / "metrics.csv").read_text() == text
