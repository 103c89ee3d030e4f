"""Features of today: the commands of docs/VIDEOS.md word for word, from videos to predictions in a new one.

The networks are small and random, in the hub's cache under the names of real ones; there is no connection to the hub.
"""

import json
from functools import partial

import h5py
import numpy as np
import pytest

from tests.conftest import SMALL
from tests.documented import call, commands
from tests.networks import hub_cache
from tests.tools.conftest import film

pytestmark = pytest.mark.slow
SECONDS = 5
NETWORKS = {"facebook/dinov2-base": "dinov2", "MIT/ast-finetuned-audioset-10-10-0.4593": "ast"}


@pytest.fixture
def project(networks, tmp_path, monkeypatch):
    """A working directory with videos, lines, lists of the splits, and a new video."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    cache = hub_cache(tmp_path / "cache", {name: networks / own for name, own in NETWORKS.items()})
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    project = tmp_path / "project"
    (project / "videos").mkdir(parents=True)
    lines = []
    for row in range(6):
        event, start = ("Buzzer", "Horn")[row % 2], row % 3
        film(project / f"videos/clip{row}.mp4", event, start, start + 2)
        lines.append(f"{event}&clip{row}&good&{start}&{start + 2}\n")
    film(project / "new.mp4", "Horn", 1, 3)
    (project / "mine.txt").write_text("".join(lines))
    for split, rows in {"train": lines[:2], "val": lines[2:4], "test": lines[4:]}.items():
        (project / f"{split}.txt").write_text("".join(rows))
    monkeypatch.chdir(project)
    return project


def test_videos_become_features_a_run_a_report_and_predictions(project, networks, monkeypatch, capsys, caplog):
    caplog.set_level("INFO")
    extra = {
        "tools.extract_features": ("--segments", SECONDS, "--frames_per_second", 2, "--gpu", "cpu"),
        "supv_main.py": ("--gpu", "cpu", "--n_epoch", 1, "--b", 2, "--config", "small.json"),
        "tools.predict": ("--json",),
    }
    (project / "small.json").write_text(json.dumps({"model": SMALL}))
    for program, *arguments in commands("VIDEOS.md", "Networks of today"):
        assert call(monkeypatch, program, *arguments, *extra.get(program, ())) == 0
    record = json.loads((project / "data/today/extraction.json").read_text())
    assert {"visual": record["visual"], "audio": record["audio"]} == dict(
        zip(("visual", "audio"), NETWORKS, strict=True)
    )
    with h5py.File(project / "data/today/visual_feature.h5") as visual:
        assert visual["avadataset"].shape == (6, SECONDS, 7, 7, 32)
    assert (project / "Exps/today/report/report.html").exists()
    used = "facebook/dinov2-base and MIT/ast-finetuned-audioset-10-10-0.4593"
    assert f"features are made by {used}, as those that the network was trained on" in caplog.text
    output = capsys.readouterr().out
    found = json.loads(output[output.index('{\n  "checkpoint"') :])
    assert (found["visual"], found["audio"], found["preprocessing"]) == (*NETWORKS, "own")
    assert len(found["videos"][0]["event_probability"]) == SECONDS
    warnings = [line for line in caplog.text.splitlines() if "warning:" in line]
    assert [line for line in warnings if "learns nothing" not in line and "noisy" not in line] == []

    # The same videos are predicted alike from their files and from their features.
    from model import load_network

    checkpoint = project / "Exps/today/best.pth.tar"
    model = load_network(checkpoint)
    with (
        h5py.File(project / "data/today/visual_feature.h5") as visual,
        h5py.File(project / "data/today/audio_feature.h5") as audio,
    ):
        expected = model.predict(visual["avadataset"][0], audio["avadataset"][0])
    predict = partial(call, monkeypatch, "tools.predict", "videos/clip0.mp4", "--checkpoint", checkpoint, "--json")
    predict()
    (video,) = json.loads(capsys.readouterr().out)["videos"]
    np.testing.assert_allclose(video["event_probability"], expected.event_probability, atol=1e-5)

    # Other networks, or features of others, are worth a warning; the check names those of a folder.
    caplog.clear()
    predict("--visual", networks / "vit")
    assert f"trained on features of {used}: with vit and MIT/" in caplog.text
    call(monkeypatch, "tools.check_data", "--data_root", "data/today")
    assert f"extracted from videos by {used}, 2 pictures a second" in capsys.readouterr().out
    record["audio"] = "some/other"
    (project / "data/today/extraction.json").write_text(json.dumps(record))
    caplog.clear()
    call(monkeypatch, "supv_main.py", "--evaluate", "--gpu", "cpu", "--data_root", "data/today", "--resume", checkpoint)
    assert f"trained on features of {used}, those of data/today were made by facebook/dinov2-base and some/other" in (
        caplog.text
    )
