"""Downloads appear whole and checked, or not at all; an interrupted transfer is resumed."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.processes import ROOT
from tests.server import serving
from tests.system import after
from utils import download as module
from utils.download import download
from utils.errors import InputError

pytest.importorskip("gdown")
CONTENTS = np.random.default_rng(0).bytes(3_000_000)
CHUNK = 512 * 1024  # gdown writes as much at a time


@pytest.fixture
def server():
    with serving() as server:
        server.files["file"] = CONTENTS
        yield server


@pytest.fixture
def hurried(monkeypatch):
    """No transfer is tried again."""
    monkeypatch.setattr(module, "RETRIES", 0)


def accept(path):
    """A check that every file passes."""


def get(server, folder, check=accept):
    download(server.url("file"), folder / "file", check)


def refusal(server, folder, check=accept):
    with pytest.raises(InputError) as error:
        get(server, folder, check)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_whole(folder):
    assert (folder / "file").read_bytes() == CONTENTS
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_file_is_downloaded_in_place_of_what_was_there(server, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file.partial").write_bytes(b"left by a killed process")
    get(server, tmp_path)
    assert_whole(tmp_path)


def test_directory_is_made(server, tmp_path):
    get(server, tmp_path / "new/folder")
    assert_whole(tmp_path / "new/folder")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"stop": 1000}, "Download is incomplete"),
        ({"announce": 7}, "Download is incomplete"),
        ({"status": 404}, "404 Client Error: Not Found"),
        ({"hang": 1000}, "Read timed out"),
    ],
)
def test_failure_is_one_sentence_and_leaves_the_existing_file(server, hurried, monkeypatch, tmp_path, fault, reason):
    monkeypatch.setattr(module, "SECONDS", (5, 0.5))
    server.faults["file"] = [fault]
    (tmp_path / "file").write_bytes(b"old")
    message = refusal(server, tmp_path)
    assert message.startswith(f"{server.url('file')}: not available: ")
    assert reason in message
    assert (tmp_path / "file").read_bytes() == b"old"


def test_place_that_cannot_be_written_is_one_sentence(server, tmp_path):
    (tmp_path / "file").write_bytes(b"no directory")
    assert "file/file: cannot be written: " in refusal(server, tmp_path / "file")


@pytest.mark.parametrize("stop", [CHUNK - 1, CHUNK, 2_999_999])
def test_lost_connection_is_resumed_where_it_stopped(server, tmp_path, stop):
    server.faults["file"] = [{"stop": stop}]
    get(server, tmp_path)
    assert_whole(tmp_path)
    assert server.requests == [("file", 0), ("file", stop // CHUNK * CHUNK)]


def test_later_call_resumes_an_interrupted_transfer(server, hurried, tmp_path):
    server.faults["file"] = [{"stop": 1_200_000}]
    with pytest.raises(InputError, match=r"not available: Download is incomplete: .*\.part is kept to resume from$"):
        get(server, tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == CONTENTS[: 2 * CHUNK]
    get(server, tmp_path)
    assert_whole(tmp_path)
    assert server.requests[-1] == ("file", 2 * CHUNK)


def test_silent_server_is_left_and_its_bytes_are_kept(server, hurried, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SECONDS", (5, 0.5))
    server.faults["file"] = [{"hang": 1_000_000}]
    with pytest.raises(InputError, match=r"not available: .* is kept to resume from"):
        get(server, tmp_path)
    get(server, tmp_path)
    assert_whole(tmp_path)
    assert server.requests[-1][1] > 0


def test_file_that_fails_its_check_does_not_replace_the_existing_one(server, tmp_path):
    def refuse(path):
        assert path.read_bytes() == CONTENTS
        raise InputError("is a web page")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(InputError, match="not the expected file: is a web page"):
        get(server, tmp_path, refuse)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


PROGRAM = """
import sys
from pathlib import Path
from utils.command import run_command
from utils.download import download
from utils.log import log_to_terminal
log_to_terminal()
run_command(lambda: download(sys.argv[1], Path(sys.argv[2]), lambda path: None))
"""


def start(server, folder, before=()):
    command = [*before, sys.executable, "-c", PROGRAM, server.url("file"), str(folder / "file")]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_process_leaves_what_the_next_one_resumes(server, tmp_path, number):
    server.faults["file"] = [{"hang": 1_500_000}]
    with start(server, tmp_path) as process:
        while sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        output = process.stderr.read()
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), output
    assert "Traceback" not in output
    (part,) = tmp_path.iterdir()
    kept = part.stat().st_size
    with start(server, tmp_path) as process:
        output = process.stderr.read()
    assert process.returncode == 0, output
    assert server.requests[-1] == ("file", kept)
    assert_whole(tmp_path)
    assert "\r" not in output
    assert "file: 3.0 MB (100 %)" in output


def test_full_disk_is_one_sentence(server, tmp_path):
    limit = after("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))")
    with start(server, tmp_path, limit) as process:
        output = process.stderr.read()
    assert process.returncode == 2
    assert "Traceback" not in output
    assert f"{tmp_path / 'file'}: cannot be written: " in output
