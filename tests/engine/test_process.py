"""The process of a run: its start, its terminal, its streams, and a second process in the same folder."""

import os
import pty
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ENVIRONMENT, ROOT

TOOLS = ("benchmark", "check_data", "download", "extract_features", "make_data", "make_labels", "predict", "report")


@pytest.fixture
def command(data_root, small_config):
    """The command line of a small supervised run."""

    def build(folder, *more):
        flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config("supervised"), "--print_freq", 1)
        return [sys.executable, "supv_main.py", *map(str, (*flags, "--snapshot_pref", folder, *more))]

    return build


def start(command, **options):
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, **options)


@pytest.mark.parametrize(
    "program", [["supv_main.py"], ["weakly_main.py"], *(["-m", f"tools.{name}"] for name in TOOLS)]
)
def test_signal_during_the_imports_ends_with_one_line(program):
    """The entry scripts and tools import torch, which takes seconds; the signal arrives as soon as that begins."""
    process = start(
        [sys.executable, "-X", "importtime", *program, "--help"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stderr:
        if line.startswith("import time:"):
            if not lines and re.search(r"\| +(numpy|torch)\.", line):
                process.send_signal(signal.SIGINT)
                lines.append("")
        else:
            lines.append(line)
    assert process.wait() == 130
    assert "".join(lines) == "interrupted\n"


def test_closed_terminal_stops_and_saves_the_run(command, tmp_path):
    """The run is the foreground process of a pseudo-terminal, whose other end is closed as by a closed window."""
    folder = tmp_path / "run"
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execve(sys.executable, command(folder, "--save_seconds", 1000, "--n_epoch", 1000), ENVIRONMENT)
    output = b""
    while b"epoch 2/1000" not in output:
        output += os.read(terminal, 4096)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129, output.decode()
    assert "SIGHUP: stopped and saved" in (folder / "train.log").read_text()
    assert (folder / "last.pth.tar").exists()


def test_run_under_nohup_outlives_its_terminal(command, tmp_path):
    process = start(["nohup", *command(tmp_path, "--n_epoch", 2)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch 1/2"):
            process.send_signal(signal.SIGHUP)
            break
    process.stderr.read()
    assert process.wait() == 0


def test_run_with_closed_streams_ends_as_any_other(command, tmp_path):
    """No file of the run takes the place of a closed stream: its bytes would be mixed with the output."""
    run = " ".join(map(repr, command(tmp_path, "--n_epoch", 1)))
    process = start(["sh", "-c", f"exec {run} <&- >&- 2>&-"])
    assert process.wait() == 0
    assert (tmp_path / "best.pth.tar").exists()
    assert "finished 1 epochs" in (tmp_path / "train.log").read_text()
    evaluation = [sys.executable, "supv_main.py", "--gpu", "cpu", "--data_root", command(tmp_path)[5]]
    quoted = " ".join(map(repr, [*evaluation, "--evaluate", "--resume", str(tmp_path / "best.pth.tar")]))
    assert start(["sh", "-c", f"exec {quoted} >&- 2>&-"]).wait() == 0


@pytest.mark.parametrize("how", [("--resume", "auto"), ("--overwrite",), ()])
def test_second_run_in_a_folder_is_refused_while_the_first_one_lives(command, tmp_path, how):
    folder = tmp_path / "run"
    first = start(command(folder, "--n_epoch", 1000, "--save_seconds", 0, *how), stderr=subprocess.PIPE, text=True)
    try:
        for line in first.stderr:
            if line.startswith("epoch 2/1000"):
                break
        os.kill(first.pid, signal.SIGSTOP)
        second = start(command(folder, *how), stderr=subprocess.PIPE, text=True)
        message = second.communicate()[1]
        assert second.returncode == 2, message
        if how:
            assert f"{folder} is in use by process {first.pid} on " in message
        else:
            assert f"{folder} already holds a run" in message
        os.kill(first.pid, signal.SIGCONT)
        first.send_signal(signal.SIGTERM)
        first.stderr.read()
        assert first.wait() == 143
    finally:
        first.kill()
        first.wait()


def test_lock_ends_with_its_process(command, tmp_path):
    """Also with a killed one whose processes that read features live a little longer."""
    folder = tmp_path / "run"
    flags = ("--resume", "auto", "--save_seconds", 0, "--features", "stream", "--num_workers", 2)
    first = start(command(folder, "--n_epoch", 1000, *flags), stderr=subprocess.PIPE, text=True)
    for line in first.stderr:
        if line.startswith("epoch 2/1000"):
            break
    while not (folder / "last.pth.tar").exists():
        time.sleep(0.1)
    first.kill()
    first.wait()
    second = start(command(folder, "--n_epoch", 1, *flags), stderr=subprocess.PIPE, text=True)
    message = second.communicate()[1]
    assert second.returncode == 0, message
