"""Small downloads appear whole and checked, or not at all."""

import pytest

from tests.server import serving
from utils import download as module
from utils.download import download
from utils.errors import InputError

pytest.importorskip("pooch")
CONTENTS = bytes(range(256)) * 1000


@pytest.fixture
def server():
    with serving() as server:
        server.files["file"] = CONTENTS
        yield server


def accept(path):
    """A check that every file passes."""


def refusal(url, path, check=accept):
    with pytest.raises(InputError) as error:
        download(url, path, check)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_file_is_downloaded_in_place_of_what_was_there(server, tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file.partial").write_bytes(b"left by a killed process")
    download(server.url("file"), tmp_path / "file", accept)
    assert (tmp_path / "file").read_bytes() == CONTENTS
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("fault", [{"stop": 1000}, {"announce": 7}, {"status": 503}])
def test_failed_transfer_is_tried_once_more(server, tmp_path, fault):
    server.faults["file"] = [fault]
    download(server.url("file"), tmp_path / "file", accept)
    assert (tmp_path / "file").read_bytes() == CONTENTS
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"stop": 1000}, "IncompleteRead"),
        ({"announce": 7}, "IncompleteRead"),
        ({"status": 404}, "404 Client Error: Not Found"),
        ({"hang": 1000}, "Read timed out"),
    ],
)
def test_failure_is_one_sentence_and_leaves_the_existing_file(server, monkeypatch, tmp_path, fault, reason):
    monkeypatch.setattr(module, "RETRIES", 0)
    monkeypatch.setattr(module, "SECONDS", (5, 0.5))
    server.faults["file"] = [fault]
    (tmp_path / "file").write_bytes(b"old")
    message = refusal(server.url("file"), tmp_path / "file")
    assert message.startswith(f"{server.url('file')}: not available: ")
    assert reason in message
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_file_that_fails_its_check_never_appears(server, tmp_path):
    def refuse(path):
        assert path.read_bytes() == CONTENTS
        raise InputError("is a web page")

    message = refusal(server.url("file"), tmp_path / "file", refuse)
    assert message == f"{server.url('file')}: not the expected file: is a web page"
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written_is_one_sentence(server, tmp_path):
    (tmp_path / "file").write_bytes(b"no directory")
    assert "file/x: cannot be written: Not a directory" in refusal(server.url("file"), tmp_path / "file" / "x")
