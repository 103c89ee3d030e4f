"""Downloads fill the folders of a newcomer; existing files are checked, failures leave everything else whole."""

import hashlib
import shutil
import subprocess
import sys

import h5py
import pytest
import torch

from dataset.published import DOWNLOADS
from tests.reference import seeded
from tests.server import serving
from tools import download as module
from tools.download import content_check, downloads, get_all, prepare
from utils.errors import InputError

pytest.importorskip("gdown")
CHECKPOINT = "Supervised_model.pth.tar"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file as the authors published it."""
    path = tmp_path_factory.mktemp("published") / CHECKPOINT
    torch.save(seeded.published_checkpoint("supervised"), path)
    return path.read_bytes()


@pytest.fixture
def server(wide_data_root, published):
    """Serves what the real servers have, of a synthetic data set."""
    with serving() as server:
        server.files = {name: (wide_data_root / name).read_bytes() for name in DOWNLOADS} | {CHECKPOINT: published}
        yield server


@pytest.fixture
def wanted(server, tmp_path):
    """All downloads, into ``tmp_path``, from the server."""
    return [each._replace(url=server.url(each.path.name)) for each in downloads(tmp_path / "data", tmp_path / "Exps")]


@pytest.fixture
def hurried(monkeypatch):
    """No transfer is tried again."""
    monkeypatch.setattr("utils.download.RETRIES", 0)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_everything_for_both_settings_is_fetched_made_and_checked(server, wanted, wide_data_root, tmp_path, capsys):
    assert prepare(tmp_path / "data", wanted) == 0
    assert "supervised: can run\nweakly: can run\n" in capsys.readouterr().out
    for name in DOWNLOADS:
        assert (tmp_path / "data" / name).read_bytes() == (wide_data_root / name).read_bytes()
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


def test_file_that_was_there_before_is_kept_if_whole_and_recorded(server, wanted, wide_data_root, tmp_path):
    (tmp_path / "data").mkdir()
    shutil.copyfile(wide_data_root / "visual_feature.h5", tmp_path / "data/visual_feature.h5")
    get_all(wanted)
    assert "visual_feature.h5" not in dict(server.requests)
    digest = hashlib.sha256(server.files["visual_feature.h5"]).hexdigest()
    assert f"{digest}  visual_feature.h5\n" in (tmp_path / "data/SHA256SUMS").read_text()


def test_damaged_files_that_were_there_before_are_downloaded_again(server, wanted, tmp_path):
    """gdown by itself would keep them."""
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


def test_labels_per_segment_of_an_older_release_are_not_made_again(wanted, wide_data_root, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    shutil.copyfile(wide_data_root / "right_labels.h5", tmp_path / "data/labels.h5")
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


def test_check_of_a_file_knows_its_key(wide_data_root):
    with pytest.raises(InputError, match="has no data set 'avadataset'"):
        content_check("audio_feature.h5")(wide_data_root / "train_order.h5")
