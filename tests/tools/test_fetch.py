"""Files come from the network whole or not at all, and go on where they broke off."""

import hashlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.server import serving
from tools.download.fetch import Patience, UnreachableError, fetch, parts_of
from utils.errors import InputError

pytest.importorskip("gdown")
CONTENTS = np.random.default_rng(0).bytes(3_000_000)
CHUNK = 512 * 1024  # gdown writes no less, but at the end
DIGEST = hashlib.sha256(CONTENTS).hexdigest()
HURRIED = Patience(connect_seconds=5, read_seconds=5, retries=0, wait_seconds=0.01)
STUBBORN = HURRIED._replace(retries=2)


def anything(path):
    """A check that every file passes."""


@pytest.fixture
def server():
    with serving() as server:
        server.files["file"] = CONTENTS
        yield server


def get(server, folder, patience=HURRIED, check=anything):
    return fetch(server.url("file"), folder / "file", check, patience)


def assert_whole(folder, digest):
    assert (folder / "file").read_bytes() == CONTENTS
    assert digest == DIGEST
    assert [path.name for path in folder.iterdir()] == ["file"]


def part(folder):
    """What is kept of a broken transfer, the only thing in the folder."""
    (path,) = folder.iterdir()
    assert path in parts_of(folder / "file.partial")
    return path.read_bytes()


def test_whole_file_arrives_with_its_sha256(server, tmp_path):
    assert_whole(tmp_path, get(server, tmp_path))


@pytest.mark.parametrize("stop", [CHUNK - 1, CHUNK, 1_200_000, 2_999_999])
def test_transfer_that_breaks_off_goes_on_where_it_stopped(server, tmp_path, stop):
    server.faults["file"] = [{"stop": stop}]
    assert_whole(tmp_path, get(server, tmp_path, STUBBORN))
    assert server.requests == [("file", 0), ("file", stop // CHUNK * CHUNK)]


def test_later_try_goes_on_with_what_an_earlier_one_left(server, tmp_path):
    server.faults["file"] = [{"stop": 1_200_000}]
    with pytest.raises(InputError, match=r"1,048,576 bytes are kept, the same command goes on with them$"):
        get(server, tmp_path)
    assert part(tmp_path) == CONTENTS[: 2 * CHUNK]
    assert_whole(tmp_path, get(server, tmp_path))
    assert server.requests[-1] == ("file", 2 * CHUNK)


def test_server_that_sends_no_parts_is_asked_for_the_whole_again(server, tmp_path):
    server.ranges = False
    server.faults["file"] = [{"stop": 1_200_000}]
    assert_whole(tmp_path, get(server, tmp_path, STUBBORN))


def test_what_is_not_part_of_the_file_is_found_by_its_size(server, tmp_path):
    """The part is longer than the file: nothing is left to ask for."""
    (tmp_path / "file.partialabcdefgh.part").write_bytes(CONTENTS + b"more")
    assert_whole(tmp_path, get(server, tmp_path, STUBBORN))


def test_complete_looking_temporary_file_is_not_believed(server, tmp_path):
    (tmp_path / "file.partial").write_bytes(b"left by somebody")
    assert_whole(tmp_path, get(server, tmp_path))


def test_of_several_parts_the_largest_goes_on(server, tmp_path):
    for name, size in (("aaaaaaaa", 10), ("bbbbbbbb", 2_000_000), ("cccccccc", 0)):
        (tmp_path / f"file.partial{name}.part").write_bytes(CONTENTS[:size])
    assert_whole(tmp_path, get(server, tmp_path))
    assert server.requests[-1] == ("file", 2_000_000)


def test_less_than_was_announced_is_never_taken_for_the_file(server, tmp_path):
    server.faults["file"] = [{"announce": 7}] * 10
    with pytest.raises(InputError, match="cannot be had"):
        get(server, tmp_path, HURRIED._replace(retries=1))
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("status", [404, 403, 410])
def test_file_that_is_not_there_is_one_sentence_at_once(server, tmp_path, status):
    server.faults["file"] = [{"status": status}]
    with pytest.raises(InputError, match=f"{server.url('file')}: the server answers {status}"):
        get(server, tmp_path, STUBBORN)
    assert server.requests == [("file", 0)]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(server, tmp_path, status):
    server.faults["file"] = [{"status": status}] * 2
    assert_whole(tmp_path, get(server, tmp_path, STUBBORN))


def test_server_that_stays_busy_is_reported(server, tmp_path):
    server.faults["file"] = [{"status": 503}] * 10
    with pytest.raises(InputError, match="the server answers 503"):
        get(server, tmp_path, STUBBORN)
    assert len(server.requests) == 3


def test_refused_connection_is_told_from_a_broken_one(tmp_path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
        for patience in (HURRIED, HURRIED._replace(retries=1)):
            with pytest.raises(UnreachableError, match="nobody answers") as error:
                fetch(url, tmp_path / "file", anything, patience)
            assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_server_that_falls_silent_is_left_and_what_it_sent_is_kept(server, tmp_path):
    server.faults["file"] = [{"hang": 1_000_000}]
    with pytest.raises(InputError, match="cannot be had"):
        get(server, tmp_path, HURRIED._replace(read_seconds=0.5))
    assert_whole(tmp_path, get(server, tmp_path))
    assert server.requests[-1][1] > 0


def test_what_is_of_no_use_does_not_replace_what_is_there(server, tmp_path):
    def refuse(path):
        assert path.read_bytes() == CONTENTS
        raise InputError("is a web page")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(InputError, match="what arrived is of no use: is a web page"):
        get(server, tmp_path, check=refuse)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# In a process of its own

PROGRAM = """
import logging, sys
from pathlib import Path
from utils.command import run_command
from tools.download.fetch import Patience, fetch
logging.basicConfig(level=logging.INFO, format="%(message)s")
run_command(lambda: print(fetch(sys.argv[1], Path(sys.argv[2]), lambda path: None, Patience())))
"""


SMALL_DISK = """
import shutil
from types import SimpleNamespace
shutil.disk_usage = lambda path: SimpleNamespace(free=2_000_000)
"""


def start(server, folder, program=PROGRAM, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program, server.url("file"), str(folder / "file")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_process_leaves_what_the_next_one_goes_on_with(server, tmp_path, number):
    server.faults["file"] = [{"hang": 1_500_000}]
    with start(server, tmp_path) as process:
        while sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        said = process.stderr.read()
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), said
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert "file: what has arrived is kept, the same command goes on with it" in said
    kept = len(part(tmp_path))
    with start(server, tmp_path) as process:
        out, said = process.communicate()
    assert process.returncode == 0, said
    assert server.requests[-1] == ("file", kept)
    assert_whole(tmp_path, out.strip())
    assert "\r" not in said
    assert "file: 3.0 of 3.0 MB (100%)" in said


def test_full_disk_is_one_sentence(server, tmp_path):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with start(server, tmp_path, preexec_fn=limit) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert "Traceback" not in said
    assert f"{tmp_path / 'file'}: cannot be written: " in said


def test_file_that_cannot_fit_on_the_disk_is_refused_before_it_is_fetched(server, tmp_path):
    with start(server, tmp_path, SMALL_DISK + PROGRAM) as process:
        _, said = process.communicate()
    assert process.returncode == 2, said
    assert "file needs 2,475,712 bytes more, 2,000,000 are free on the disk" in said
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        ("import sys; sys.modules['gdown'] = None\n", "needs gdown, not installed here: python -m pip install"),
        ("import gdown; gdown.__version__ = '5.2.0'\n", "needs gdown 6.5 or newer, 5.2.0 is installed"),
    ],
)
def test_missing_or_old_gdown_is_one_sentence_that_says_what_to_install(server, tmp_path, begin, expected):
    with start(server, tmp_path, begin + PROGRAM) as process:
        _, said = process.communicate()
    assert process.returncode == 2
    assert said.startswith(f"error: {expected}")
    assert said.count("\n") == 1
    assert os.listdir(tmp_path) == []  # noqa: PTH208
