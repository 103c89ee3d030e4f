"""A data set of one's own videos, from the files to predictions, by the commands of docs/DATA.md in their order.

10 clips of 4 seconds with 5 events. A small random network describes the pictures: VGG-19 would take most of the time.
"""

import json

import pytest

from tests.conftest import SMALL
from tests.tools.conftest import Footage
from tests.videos import grey, stripes, tone, write_video

SECONDS = 4
# What each event looks and sounds like.
EVENTS = {
    "Été, rain": (stripes(16), 1500),
    "钟": (grey(230), 300),
    "=Horn": (stripes(4), 3000),
    "Bark": (grey(140), 600),
    "-Train": (stripes(32), 150),
}
SPLITS = {"train": range(6), "val": range(6, 8), "test": range(8, 10)}
EXTRACTOR = ("--gpu", "cpu", "--frames_per_second", 1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Footage:
    """The clips, the annotations, and beside them a list for each split."""
    folder = tmp_path_factory.mktemp("clips")
    lists = tmp_path_factory.mktemp("lists")
    lines = []
    for row in range(10):
        event, start = list(EVENTS)[row % 5], row % 3
        (picture, hertz), span = EVENTS[event], range(start, start + 2)
        write_video(
            folder / f"-clip{row}.mp4",
            SECONDS,
            lambda time, picture=picture, span=span: picture if int(time + 1e-9) in span else grey(20),
            tone(hertz, *span),
        )
        lines.append(f"{event}&-clip{row}&good&{start}&{start + 2}\n")
    (lists / "mine.txt").write_text("".join(lines), encoding="utf-8")
    for split, rows in SPLITS.items():
        (lists / f"{split}.txt").write_text("".join(lines[row] for row in rows), encoding="utf-8")
    return Footage(folder, lists / "mine.txt", [])


@pytest.mark.slow
def test_videos_become_features_runs_reports_and_predictions(run, clips, networks, weights, tmp_path):
    data, lists = tmp_path / "data", clips.annotations_file.parent
    extraction = (*EXTRACTOR, "--visual", networks / "resnet", "--weights", weights, "--segments", SECONDS)
    run("tools.extract_features", clips.folder, "--annotations", clips.annotations_file, "--out", data, *extraction)
    sets = [part for split in SPLITS for part in (f"--{split}_set", lists / f"{split}.txt")]
    run("tools.make_labels", "--annotations", data / "Annotations.txt", "--out", data, *sets)
    configs = {"supervised": tmp_path / "mine.json", "weakly": tmp_path / "mine_weak.json"}
    for config in configs.values():
        config.write_text(json.dumps({"model": SMALL}), encoding="utf-8")
    checked = run("tools.check_data", "--data_root", data, "--full").stdout
    assert "supervised: can run\nweakly: can run\n" in checked

    row = SPLITS["test"][0]
    for setting, script in {"supervised": "supv_main.py", "weakly": "weakly_main.py"}.items():
        folder = tmp_path / setting
        common = ("--gpu", "cpu", "--data_root", data)
        training = ("--config", configs[setting], "--snapshot_pref", folder, "--n_epoch", 1, "--b", 3)
        run(script, *common, *training)
        report = run("tools.report", folder, *common)
        assert report.stdout.strip() == str(folder / "report/report.html")
        drawn = run("tools.visualize", folder, *common, "--rows", row)
        for said in (report.stderr, drawn.stderr):
            assert "Glyph" not in said
            assert "Warning" not in said
        assert (folder / f"attention/attention_{row:05d}.png").exists()

        checkpoint = folder / "best.pth.tar"
        flags = ("--checkpoint", checkpoint, "--weights", weights, *EXTRACTOR, "--json")
        found = json.loads(run("tools.predict", clips.folder / f"-clip{row}.mp4", *flags).stdout)
        assert found["class_names"] == list(EVENTS)
        (video,) = found["videos"]
        assert video["seconds"] == SECONDS
        assert len(video["event_probability"]) == SECONDS
