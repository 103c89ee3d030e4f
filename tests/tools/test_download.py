"""Downloads fill the folders of a newcomer; existing files are checked, failures leave everything else whole."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch

from dataset.published import DOWNLOADS
from tests.processes import ROOT
from tests.reference import seeded
from tests.server import serving
from tests.system import after
from tools import download as module
from tools.download import content_check, download_large, downloads, get_all, prepare
from utils.errors import InputError

pytest.importorskip("gdown")
pytest.importorskip("pooch")
CONTENTS = np.random.default_rng(0).bytes(3_000_000)
CHUNK = 512 * 1024  # gdown writes as much at a time
CHECKPOINT = "Supervised_model.pth.tar"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as the authors published it."""
    path = tmp_path_factory.mktemp("published") / CHECKPOINT
    torch.save(seeded.published_checkpoint("supervised"), path)
    return path.read_bytes()


@pytest.fixture
def server(data_root, published):
    """Serves what the real servers have, of a synthetic data set."""
    with serving() as server:
        server.files = {name: (data_root / name).read_bytes() for name in DOWNLOADS} | {CHECKPOINT: published}
        yield server


@pytest.fixture
def wanted(server, tmp_path):
    """All downloads, into ``tmp_path``, from the server."""
    return [each._replace(url=server.url(each.path.name)) for each in downloads(tmp_path / "data", tmp_path / "Exps")]


@pytest.fixture
def hurried(monkeypatch):
    """No transfer is tried again."""
    monkeypatch.setattr(module, "RETRIES", 0)
    monkeypatch.setattr("utils.download.RETRIES", 0)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_for_both_settings_is_fetched_made_and_checked(server, wanted, data_root, tmp_path, capsys):
    assert prepare(tmp_path / "data", wanted) == 0
    assert "supervised: can run\nweakly: can run\n" in capsys.readouterr().out
    for name in DOWNLOADS:
        assert (tmp_path / "data" / name).read_bytes() == (data_root / name).read_bytes()
    assert (tmp_path / "data/right_labels.h5").exists()
    assert (tmp_path / "Exps/Supv" / CHECKPOINT).read_bytes() == server.files[CHECKPOINT]
    for folder in (tmp_path / "data", tmp_path / "Exps/Supv"):
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_second_run_fetches_nothing_and_changes_nothing(server, wanted, tmp_path, capsys):
    prepare(tmp_path / "data", wanted)
    before, asked = contents(tmp_path), len(server.requests)
    assert prepare(tmp_path / "data", wanted) == 0
    assert contents(tmp_path) == before
    assert len(server.requests) == asked == len(wanted)


def test_file_that_was_there_before_is_kept_if_whole_and_recorded(server, wanted, data_root, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copyfile(data_root / "visual_feature.h5", tmp_path / "data/visual_feature.h5")
    get_all(wanted)
    assert "visual_feature.h5" not in dict(server.requests)
    digest = hashlib.sha256(server.files["visual_feature.h5"]).hexdigest()
    assert f"{digest}  visual_feature.h5\n" in (tmp_path / "data/SHA256SUMS").read_text()


def test_damaged_files_that_were_there_before_are_downloaded_again(server, wanted, tmp_path):
    """pooch and gdown by themselves would keep them."""
    (tmp_path / "data").mkdir()
    for name in DOWNLOADS:
        damaged = b"Truck, a\n" if name.endswith(".txt") else server.files[name][:-1000]
        (tmp_path / "data" / name).write_bytes(damaged)
    get_all(wanted)
    for name in DOWNLOADS:
        assert (tmp_path / "data" / name).read_bytes() == server.files[name]


def test_changed_file_is_reported_and_left_alone(server, wanted, tmp_path):
    get_all(wanted)
    path = tmp_path / "data/audio_feature.h5"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(InputError) as error:
        get_all(wanted)
    assert f"{path}: has changed since its SHA-256 was recorded: move it away to download it again" in str(error.value)
    assert path.read_bytes() == changed
    path.unlink()
    get_all(wanted)
    assert path.read_bytes() == server.files["audio_feature.h5"]


def test_files_that_are_not_available_are_listed_and_the_others_are_there(server, wanted, hurried, tmp_path):
    del server.files["mil_labels.h5"]
    server.files["visual_feature_noisy.h5"] = b"<!DOCTYPE html><title>Google Drive - Quota exceeded</title>"
    server.files["audio_feature.h5"] = server.files["audio_feature.h5"][:-1]
    with pytest.raises(InputError) as error:
        prepare(tmp_path / "data", wanted)
    said = str(error.value).splitlines()
    assert said[0] == "3 of 11 files are still missing:"
    assert len(said) == 5
    for name, reason in (
        ("mil_labels.h5", "404 Client Error: Not Found"),
        ("visual_feature_noisy.h5", "it is a web page"),
        ("audio_feature.h5", "it is truncated"),
    ):
        assert any(server.url(name) in line and reason in line for line in said), said
        assert not (tmp_path / "data" / name).exists()
    assert (tmp_path / "data/visual_feature.h5").exists()
    assert list((tmp_path / "data").glob("*.part*")) == []


def test_file_that_declares_more_than_it_holds_is_refused(server, wanted, tmp_path):
    """An HDF5 file of the announced size whose writer never came to an end."""
    with h5py.File(tmp_path / "unwritten", "w") as file:
        file.create_dataset("avadataset", (60, 10, 128), "f4", chunks=(1, 10, 128))[:30] = 1
    server.files["audio_feature.h5"] = (tmp_path / "unwritten").read_bytes()
    with pytest.raises(InputError, match=r"is incomplete: its shape .* stands for 60 chunks, 30 were written"):
        get_all(wanted)


def test_checkpoint_with_code_in_it_is_refused(server, wanted, tmp_path):
    torch.save({"module.visual_spatial_channel_att.x": print}, tmp_path / "code")
    server.files[CHECKPOINT] = (tmp_path / "code").read_bytes()
    with pytest.raises(InputError, match="holds code"):
        get_all(wanted)
    assert not (tmp_path / "Exps/Supv" / CHECKPOINT).exists()


def test_server_that_does_not_answer_is_a_sentence_per_file(server, wanted, hurried, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError) as error:
        get_all(wanted)
    assert str(error.value).count(": not available: ") == len(wanted) == str(error.value).count("\n") - 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_broken_record_is_one_sentence(wanted, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/SHA256SUMS").write_text("nonsense\n")
    with pytest.raises(InputError, match="SHA256SUMS: cannot be read, expected lines of a SHA-256 and a name"):
        get_all(wanted[:1])


def test_labels_per_segment_of_an_older_release_are_not_made_again(wanted, data_root, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    shutil.copyfile(data_root / "right_labels.h5", tmp_path / "data/labels.h5")
    assert prepare(tmp_path / "data", wanted) == 0
    assert not (tmp_path / "data/right_labels.h5").exists()


def test_sources_are_those_of_the_data_set_the_largest_last(tmp_path):
    urls = {download.path.relative_to(tmp_path).as_posix(): download.url for download in downloads(tmp_path, tmp_path)}
    drive = "https://drive.google.com/uc?id="
    assert {name: url for name, url in urls.items() if url.startswith(drive)} == {
        "visual_feature.h5": f"{drive}1hQwbhutA3fQturduRnHMyfRqdrRHgmC9",
        "audio_feature.h5": f"{drive}1F6p4BAOY-i0fDXUOhG7xHuw_fnO5exBS",
        "visual_feature_noisy.h5": f"{drive}1I3OtOHJ8G1-v5G2dHIGCfevHQPn-QyLh",
        "Supv/Supervised_model.pth.tar": f"{drive}1PjJC13edvwz8dTjsZs9MuPtCM8t4bogI",
    }
    small = {name: url for name, url in urls.items() if drive not in url}
    assert sorted(small) == sorted(
        ["Annotations.txt", "mil_labels.h5", "labels_noisy.h5", "audio_feature_noisy.h5"]
        + [f"{split}_order.h5" for split in ("train", "val", "test")]
    )
    assert all(url.startswith("https://") and url.endswith(f"/data/{name}") for name, url in small.items())
    assert all("YapengTian/AVE-ECCV18" in url for url in small.values())
    assert list(urls)[-1].startswith("visual_feature")


def test_checkpoint_alone_is_downloaded_on_request(server, monkeypatch, tmp_path):
    """And what is there already is checked: nothing needs the network the second time."""
    monkeypatch.setattr(module, "PUBLISHED_CHECKPOINT_URL", server.url(CHECKPOINT))
    monkeypatch.setattr(
        sys, "argv", ["download", "--checkpoint", "--runs", str(tmp_path), "--data_root", str(tmp_path)]
    )
    for _ in range(2):
        module.main()
    assert (tmp_path / "Supv" / CHECKPOINT).read_bytes() == server.files[CHECKPOINT]
    assert server.requests == [(CHECKPOINT, 0)]
    assert [path.name for path in tmp_path.iterdir()] == ["Supv"]


def test_wrong_flags_are_status_2_and_help_says_what_is_not_tested(run):
    assert "unrecognized arguments" in run("tools.download", "--url", "x", status=2).stderr
    assert "They cannot try without a network" in run("tools.download", "--help").stdout


def test_check_of_a_file_knows_its_key(data_root):
    with pytest.raises(InputError, match="has no data set 'avadataset'"):
        content_check("audio_feature.h5")(data_root / "train_order.h5")


# Large files, resumed


@pytest.fixture
def large():
    """A server of one large file."""
    with serving() as server:
        server.files["file"] = CONTENTS
        yield server


def accept(path):
    """A check that every file passes."""


def get_large(server, folder, check=accept):
    download_large(server.url("file"), folder / "file", check)


def assert_whole(folder):
    assert (folder / "file").read_bytes() == CONTENTS
    assert [path.name for path in folder.iterdir()] == ["file"]


@pytest.mark.parametrize("stop", [CHUNK - 1, CHUNK, 2_999_999])
def test_lost_connection_is_resumed_where_it_stopped(large, tmp_path, stop):
    large.faults["file"] = [{"stop": stop}]
    get_large(large, tmp_path)
    assert_whole(tmp_path)
    assert large.requests == [("file", 0), ("file", stop // CHUNK * CHUNK)]


def test_later_call_resumes_an_interrupted_transfer(large, hurried, tmp_path):
    large.faults["file"] = [{"stop": 1_200_000}]
    with pytest.raises(InputError, match=r"not available: Download is incomplete: .*\.part is kept to resume from$"):
        get_large(large, tmp_path)
    (part,) = tmp_path.iterdir()
    assert part.read_bytes() == CONTENTS[: 2 * CHUNK]
    get_large(large, tmp_path)
    assert_whole(tmp_path)
    assert large.requests[-1] == ("file", 2 * CHUNK)


def test_complete_looking_temporary_file_is_not_trusted(large, tmp_path):
    (tmp_path / "file.partial").write_bytes(b"left by somebody")
    get_large(large, tmp_path)
    assert_whole(tmp_path)


def test_fewer_bytes_than_announced_are_never_taken_for_the_file(large, hurried, tmp_path):
    large.faults["file"] = [{"announce": 7}]
    with pytest.raises(InputError, match="not available"):
        get_large(large, tmp_path)
    assert not (tmp_path / "file").exists()


def test_silent_server_is_left_and_its_bytes_are_kept(large, hurried, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "SECONDS", (5, 0.5))
    large.faults["file"] = [{"hang": 1_000_000}]
    with pytest.raises(InputError, match=r"not available: .* is kept to resume from"):
        get_large(large, tmp_path)
    get_large(large, tmp_path)
    assert_whole(tmp_path)
    assert large.requests[-1][1] > 0


def test_file_that_fails_its_check_does_not_replace_the_existing_one(large, tmp_path):
    def refuse(path):
        assert path.read_bytes() == CONTENTS
        raise InputError("is a web page")

    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(InputError, match="not the expected file: is a web page"):
        get_large(large, tmp_path, check=refuse)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


PROGRAM = """
import sys
from pathlib import Path
from tools.download import download_large
from utils.command import run_command
from utils.log import log_to_terminal
log_to_terminal()
run_command(lambda: download_large(sys.argv[1], Path(sys.argv[2]), lambda path: None))
"""


def start(server, folder, before=()):
    command = [*before, sys.executable, "-c", PROGRAM, server.url("file"), str(folder / "file")]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_process_leaves_what_the_next_one_resumes(large, tmp_path, number):
    large.faults["file"] = [{"hang": 1_500_000}]
    with start(large, tmp_path) as process:
        while sum(path.stat().st_size for path in tmp_path.iterdir()) < 1_000_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        output = process.stderr.read()
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number), output
    assert "Traceback" not in output
    (part,) = tmp_path.iterdir()
    kept = part.stat().st_size
    with start(large, tmp_path) as process:
        output = process.stderr.read()
    assert process.returncode == 0, output
    assert large.requests[-1] == ("file", kept)
    assert_whole(tmp_path)
    assert "\r" not in output
    assert "file: 3.0 MB (100 %)" in output


def test_full_disk_is_one_sentence(large, tmp_path):
    limit = after("import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))")
    with start(large, tmp_path, limit) as process:
        output = process.stderr.read()
    assert process.returncode == 2
    assert "Traceback" not in output
    assert f"{tmp_path / 'file'}: cannot be written: " in output


@pytest.mark.parametrize("package", ["gdown", "pooch"])
def test_missing_package_is_one_sentence_that_says_what_to_install(package, tmp_path):
    program = (
        f"import runpy, sys; sys.modules[{package!r}] = None; runpy.run_module('tools.download', {{}}, '__main__')"
    )
    command = [sys.executable, "-c", program, "--data_root", str(tmp_path), "--runs", str(tmp_path)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: needs {package}, not installed here: python -m pip install")
    assert list(tmp_path.iterdir()) == []
