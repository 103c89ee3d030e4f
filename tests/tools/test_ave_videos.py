"""From AVE's archive of videos to a complete data folder, by the commands of docs/DATA.md word for word.

The archive is a small one of the same form, on a server of this machine: 28 events, a header line, videos in two rows,
ids that begin with a hyphen, videos that are shorter than ten seconds or broken.
"""

import io
import zipfile

import h5py
import numpy as np
import pytest

from configs.ave import EVENTS
from dataset.annotations import HEADER, read_annotations
from tests.documented import call, commands
from tests.server import serving
from tests.videos import grey, tone, write_video
from tools import download
from utils.errors import InputError

pytest.importorskip("gdown")
FOLDER = "AVE_Dataset"
IDS = ["-J2WJaG1Dd4", "-mlWcker_3o", "RUhOCu3LNXM", "MH3m4AwEcRY", "2An2JMGMbbs", "broken"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """AVE_Dataset.zip; each event is in three rows, the first one's first video is broken."""
    folder = tmp_path_factory.mktemp("archive")
    for number, name in enumerate([*IDS, "noisy1", "noisy2"]):
        seconds = 3 if number == 1 else 1
        write_video(folder / f"{name}.mp4", seconds, lambda _, n=number: grey(20 + 25 * n), tone(300, 0), frame_rate=1)
    (folder / "broken.mp4").write_bytes((folder / "broken.mp4").read_bytes()[:500])
    lines = {split: [] for split in ("train", "val", "test")}
    for number, event in enumerate(EVENTS):
        for place, split in enumerate(lines):
            video_id = IDS[-1] if number == place == 0 else IDS[(number + place) % 5]
            lines[split].append(f"{event}&{video_id}&good&0&{10 - place}\n")
    rows = [line for each in zip(*lines.values(), strict=True) for line in each]
    contents = io.BytesIO()
    with zipfile.ZipFile(contents, "w") as packed:
        for name in IDS:
            packed.write(folder / f"{name}.mp4", f"{FOLDER}/AVE/{name}.mp4")
        packed.writestr(f"{FOLDER}/Annotations.txt", f"{HEADER}\n" + "".join(rows))
        for split, own in lines.items():
            packed.writestr(f"{FOLDER}/{split}Set.txt", "".join(reversed(own)))
        packed.writestr(f"{FOLDER}/ReadMe.txt", bytes(1_000_000))  # transfers are resumed at multiples of 512 KiB
    return folder, contents.getvalue(), rows


@pytest.fixture
def server(archive, monkeypatch, tmp_path):
    """Serves the archive to ``tools.download`` in an empty working directory."""
    with serving() as server:
        server.files = {download.VIDEOS_ARCHIVE: archive[1]}
        monkeypatch.setattr(download, "VIDEOS_URL", server.url(download.VIDEOS_ARCHIVE))
        monkeypatch.setattr(download, "VIDEOS_SIZE", len(archive[1]))
        monkeypatch.chdir(tmp_path)
        yield server


def values(path, key="avadataset"):
    with h5py.File(path) as file:
        return file[key][()]


@pytest.mark.slow
def test_archive_becomes_a_complete_data_folder(server, archive, weights, monkeypatch, capsys, caplog, tmp_path):
    folder, _, lines = archive
    (tmp_path / "videos/noisy").mkdir(parents=True)
    for name in ("noisy1", "noisy2"):
        (folder / f"{name}.mp4").rename(tmp_path / "videos/noisy" / f"{name}.mp4")
    for module, *arguments in commands("DATA.md", "AVE from its videos"):
        more = ("--weights", weights, "--gpu", "cpu", "--frames_per_second", 1) if "extract" in module else ()
        status = call(monkeypatch, module, *arguments, *more)
        assert status == (1 if "--annotations" in arguments and more else 0)  # one is broken
    out = tmp_path / "data/ave"
    assert "broken.mp4 is left out: it cannot be decoded" in caplog.text
    assert "supervised: can run\nweakly: can run\n" in capsys.readouterr().out
    rows = [line for line in lines if "&broken&" not in line]
    assert (out / "Annotations.txt").read_text() == "".join(rows)
    visual = values(out / "visual_feature.h5")
    assert visual.shape == (len(rows), 10, 7, 7, 512)
    first = {line.split("&")[1]: row for row, line in reversed(list(enumerate(rows)))}
    for row, line in enumerate(rows):
        assert np.array_equal(visual[row], visual[first[line.split("&")[1]]])
    assert caplog.text.count("extracting [") == 6 + 2  # each video once
    for place, split in enumerate(("train", "val", "test")):
        kept = [line for line in lines[place::3] if line in rows]
        assert values(out / f"{split}_order.h5", "order").tolist() == [rows.index(line) for line in reversed(kept)]
    labels = values(out / "right_labels.h5")
    for row, annotation in enumerate(read_annotations(out / "Annotations.txt")):
        assert labels[row, :, EVENTS.index(annotation.event)].sum() == annotation.end
    assert values(out / "visual_feature_noisy.h5").shape == (2, 10, 7, 7, 512)
    assert values(out / "audio_feature_noisy.h5").shape == (2, 10, 128)
    assert values(out / "labels_noisy.h5").argmax(axis=1).tolist() == [28, 28]

    noisy = (tmp_path / "videos/noisy", "--noisy", "--out", out, "--weights", weights)
    caplog.clear()
    with pytest.raises(InputError, match=r"made with preprocessing caffe, .*give the same$"):
        call(monkeypatch, "tools.extract_features", *noisy, "--frames_per_second", 2, "--overwrite")
    assert values(out / "visual_feature_noisy.h5").shape == (2, 10, 7, 7, 512)


def test_download_goes_on_where_it_stopped_and_says_its_size_before(server, archive, monkeypatch, caplog, tmp_path):
    caplog.set_level("INFO")
    server.faults[download.VIDEOS_ARCHIVE] = [{"stop": 700_000}]
    assert call(monkeypatch, "tools.download", "--videos", FOLDER) == 0
    assert [start for _, start in server.requests] == [0, 2**19]
    assert caplog.text.index("and as much again when unpacked") < caplog.text.index("from http")
    assert (tmp_path / FOLDER / FOLDER / "AVE/-J2WJaG1Dd4.mp4").stat().st_size > 0
    assert call(monkeypatch, "tools.download", "--videos", FOLDER) == 0  # all is there
    assert len(server.requests) == 2


def test_archive_that_was_fetched_by_hand_is_unpacked(server, archive, monkeypatch, tmp_path):
    (tmp_path / download.VIDEOS_ARCHIVE).write_bytes(archive[1])
    assert call(monkeypatch, "tools.download", "--videos", "videos") == 0
    assert server.requests == []
    assert len(list((tmp_path / "videos" / FOLDER / "AVE").iterdir())) == len(IDS)


@pytest.mark.parametrize("damage", ["cut", "changed", "page"])
def test_archive_that_is_not_whole_is_not_unpacked(server, archive, monkeypatch, tmp_path, damage):
    contents = bytearray(archive[1])
    contents[2000] ^= 255
    damaged = {"cut": archive[1][:-100], "changed": bytes(contents), "page": b"<html>"}
    server.files[download.VIDEOS_ARCHIVE] = damaged[damage]
    monkeypatch.setattr("utils.download.RETRIES", 0)
    with pytest.raises(InputError, match="is incomplete, damaged or not an archive"):
        call(monkeypatch, "tools.download", "--videos", "videos")
    assert list(tmp_path.iterdir()) == []


def test_disk_without_room_is_refused_before_anything_is_fetched(server, monkeypatch, tmp_path):
    monkeypatch.setattr(download, "VIDEOS_SIZE", 10**18)
    with pytest.raises(InputError, match=r"videos: needs 2000000000\.00 GB, and its disk has"):
        call(monkeypatch, "tools.download", "--videos", "videos")
    assert server.requests == []
