"""The process of a run: its start, its terminal, its streams, and a second process in the same folder."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time

import psutil
import pytest

from tests.processes import ENVIRONMENT, ROOT, Process, finished


@pytest.fixture
def command(data_root, small_config):
    """The command line of a small supervised run."""

    def build(folder, *more):
        flags = ("--gpu", "cpu", "--data_root", data_root, "--config", small_config("supervised"), "--print_freq", 1)
        return ["supv_main.py", *map(str, (*flags, "--snapshot_pref", folder, *more))]

    return build


def start(command, **options):
    return subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, **options)


def test_closed_terminal_stops_and_saves_the_run(command, tmp_path):
    """The run is the foreground process of a pseudo-terminal, whose other end is closed as by a closed window."""
    folder = tmp_path / "run"
    terminal, program_side = pty.openpty()
    flags = ("--save_seconds", 1000, "--n_epoch", 1000)
    with Process(*command(folder, *flags), set_up=control_terminal, errors=program_side) as process:
        os.close(program_side)
        output = b""
        while b"epoch 2/1000" not in output:
            output += os.read(terminal, 4096)
        os.close(terminal)
        assert process.wait() == 129, output.decode()
    assert "SIGHUP: stopped and saved" in (folder / "train.log").read_text()
    assert (folder / "last.pth.tar").exists()


def control_terminal():
    """Make the terminal at standard error the one that controls this process."""
    fcntl.ioctl(2, termios.TIOCSCTTY, 0)


def test_run_under_nohup_outlives_its_terminal(command, tmp_path):
    process = start(["nohup", sys.executable, *command(tmp_path, "--n_epoch", 2)], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("epoch 1/2"):
            process.send_signal(signal.SIGHUP)
            break
    process.stderr.read()
    assert process.wait() == 0


@pytest.mark.parametrize("how", [("--resume", "auto"), ("--overwrite",), ()])
def test_second_run_in_a_folder_is_refused_while_the_first_one_lives(command, tmp_path, how):
    folder = tmp_path / "run"
    with Process(*command(folder, "--n_epoch", 1000, "--save_seconds", 0, *how)) as first:
        first.read_until("epoch 2/1000")
        first.send_signal(signal.SIGSTOP)
        second = finished(*command(folder, *how))
        assert second.returncode == 2, second.stderr
        if how:
            assert f"{folder} is in use by process {first.pid} on " in second.stderr
        else:
            assert f"{folder} already holds a run" in second.stderr
        first.send_signal(signal.SIGCONT)
        first.send_signal(signal.SIGTERM)
        first.stderr.read()
        assert first.wait() == 143


def test_lock_ends_with_its_process(command, tmp_path):
    """Also with a killed one; its processes that read features end with it."""
    folder = tmp_path / "run"
    flags = ("--resume", "auto", "--test_batch_size", 2)  # with batches of 16, the run would read val and test itself
    stream = ("--n_epoch", 1000, "--save_seconds", 0, "--features", "stream", "--num_workers", 2)
    with Process(*command(folder, *flags, *stream)) as first:
        first.read_until("epoch 2/1000")
        while not (folder / "last.pth.tar").exists():
            time.sleep(0.1)
        readers = psutil.Process(first.pid).children(recursive=True)
        assert len(readers) >= 2 * 3  # for train, val and test
        first.kill()
    assert not psutil.wait_procs(readers, timeout=60)[1]
    second = finished(*command(folder, "--n_epoch", 1, *flags))
    assert second.returncode == 0, second.stderr


def test_features_are_read_by_processes_forked_without_threads(command, tmp_path):
    """A fork of a process with threads can deadlock."""
    threads = {name: value for name, value in ENVIRONMENT.items() if name != "OMP_NUM_THREADS"}
    flags = ("--n_epoch", 1000, "--features", "stream", "--num_workers", 1)
    with Process(*command(tmp_path, *flags), environment=threads) as run:
        run.read_until("epoch 1/1000 [")
        (server,) = [child for child in psutil.Process(run.pid).children() if child.children()]
        assert server.num_threads() == 1
        run.kill()
