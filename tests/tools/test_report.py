"""The report and predictions.csv: their numbers are those of ``--evaluate``, and the page is self-contained."""

import base64
import csv
import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest

from dataset.annotations import read_annotations
from tests.conftest import SCRIPTS
from tests.readable import assert_files_readable
from tests.reference import seeded

PICTURES = {"events", "lengths", "confusion", "gates", "modalities"}
PICTURES |= {f"timelines_{name}" for name in ("worst", "median", "best")}
CURVES = {"loss", "accuracy"}
CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def reported(tmp_path_factory, run, trained, data_root):
    """The folder of the report on a run, per setting."""
    folders = {}

    def report(setting):
        if setting not in folders:
            out = tmp_path_factory.mktemp("reports") / setting
            result = run("tools.report", trained(setting), "--gpu", "cpu", "--out", out)
            assert result.stdout.splitlines() == [str(out / "report.html")]
            folders[setting] = out
        return folders[setting]

    return report


class Page(HTMLParser):
    """What a page refers to, and its pictures' attributes."""

    def __init__(self, html):
        super().__init__()
        self.references, self.images = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.references += [attributes[name] for name in ("src", "href", "srcset") if name in attributes]
        assert tag not in ("script", "iframe", "object")
        if tag == "img":
            self.images.append(attributes)


def predictions(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def accuracy(rows):
    return 100 * sum(row["truth"] == row["predicted"] for row in rows) / len(rows)


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_report_on_a_run_is_one_page_with_its_pictures_inside(reported, data_root, setting):
    out = reported(setting)
    assert {path.name for path in out.iterdir()} == {
        "report.html",
        "predictions.csv",
        *(f"{name}.png" for name in PICTURES | CURVES),
    }
    html = (out / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert len(page.images) == len(PICTURES | CURVES)
    assert all(reference.startswith("data:") for reference in page.references)
    assert not re.search(r"url\(|@import|https?:", html)
    assert all(len(image["alt"]) > 40 for image in page.images)
    assert "This data is synthetic" in html
    assert f"; data {data_root}. Evaluated in" in html
    assert_files_readable(out, ".html", ".csv")


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_predictions_agree_with_the_evaluation_that_writes_the_same_file(
    run, reported, trained, data_root, tmp_path, setting
):
    result = run(
        SCRIPTS[setting],
        *("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--resume", trained(setting) / "best.pth.tar"),
        *("--predictions", tmp_path / "own.csv"),
    )
    said = float(re.fullmatch(r"Evaluation results \(acc\): ([\d.]+)%\.", result.stdout.splitlines()[-1])[1])
    assert (tmp_path / "own.csv").read_bytes() == (reported(setting) / "predictions.csv").read_bytes()

    rows = predictions(tmp_path / "own.csv")
    assert list(rows[0]) == ["row", "id", "second", "truth", "predicted", "event_probability", "class_probability"]
    assert accuracy(rows) == pytest.approx(said, abs=5e-5)
    html = (reported(setting) / "report.html").read_text(encoding="utf-8")
    assert f"{said:.2f} %" in html

    # The page has the table of measures, and the sentence that names a network that does not localize.
    table = result.stderr.splitlines()
    head = next(number for number, line in enumerate(table) if line.endswith("all background"))
    for line in table[head + 1 : head + 13]:
        cells = re.split("  +", line.strip())
        assert len(cells) == 4
        assert "".join(f"<td>{cell}</td>" for cell in cells) in html.replace("<td>  ", "<td>")
    warnings = [line for line in table if "DOES NOT LOCALIZE EVENTS" in line]
    assert [unescape(notice) for notice in re.findall(r'<p class="notice">(.*?)</p>', html)] == warnings

    annotations = read_annotations(data_root / "Annotations.txt")
    threshold = {"supervised": 0.7, "weakly": 0.5}[setting]
    for row in rows:
        video, second = annotations[int(row["row"])], int(row["second"])
        assert row["id"] == video.video_id
        assert row["truth"] == (video.event if video.start <= second < video.end else "background")
        if row["predicted"] != "background":
            assert float(row["event_probability"]) >= threshold
        assert 0 < float(row["class_probability"]) <= 1


@pytest.mark.slow
def test_checkpoint_alone_gives_everything_but_the_curves(run, trained, data_root, tmp_path):
    checkpoint = tmp_path / "mine.pth.tar"
    checkpoint.write_bytes((trained("supervised") / "last.pth.tar").read_bytes())
    run("tools.report", checkpoint, "--data_root", data_root, "--gpu", "cpu", "--split", "val")
    out = tmp_path / "mine_report"
    assert {path.stem for path in out.glob("*.png")} == PICTURES
    assert "on the val split" in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_published_checkpoint_is_reported_as_it_was_scored(run, published, seeded_data, tmp_path, setting):
    """The folder has no annotations: there are no ids, and events are numbered."""
    checkpoint = published / f"{setting}.pth.tar"
    result = run("tools.report", checkpoint, "--data_root", seeded_data, "--gpu", "cpu", "--out", tmp_path)
    assert "fp64, batches of 16, which share attention" in result.stderr
    rows = predictions(tmp_path / "predictions.csv")
    assert accuracy(rows) == pytest.approx(seeded.expected(setting, "batch")["accuracy"])
    assert {row["id"] for row in rows} == {""}


@pytest.mark.slow
def test_split_with_one_event_or_none_is_reported_without_what_it_cannot_show(run, trained, data_root, tmp_path):
    """The events of all videos are one, or there are none: nothing is exchanged, and no picture is empty."""
    for name, kept in {"one": 3, "none": 28}.items():
        root = shutil.copytree(data_root, tmp_path / name)
        with h5py.File(root / "right_labels.h5", "r+") as file:
            labels = file["avadataset"][:]
            background = labels[..., 28] == 1
            labels[:] = np.eye(29)[kept]
            labels[background] = np.eye(29)[28]
            file["avadataset"][:] = labels
        out = tmp_path / f"{name}_report"
        run("tools.report", trained("supervised"), "--data_root", root, "--gpu", "cpu", "--out", out)
        html = (out / "report.html").read_text("utf-8")
        assert "Not available: all videos of the split show one event" in html
        assert "<b>none</b>" not in html  # it would read as "none of the videos are named right"
        assert_files_readable(out, ".html", ".csv")
        missing = {"modalities"} if name == "one" else {"modalities", "gates"}
        assert {path.stem for path in out.glob("*.png")} == (PICTURES | CURVES) - missing


@pytest.mark.slow
def test_videos_that_are_shown_get_pages_with_the_truth(run, checkpoint, footage, tmp_path):
    """Of the nine training videos, all of which are shown, one is in the folder; warnings name the others."""
    video, out = footage.good[0], tmp_path / "report"
    (tmp_path / "videos").mkdir()
    shutil.copy(footage.folder / f"{video.video_id}.mp4", tmp_path / "videos")
    flags = ("--gpu", "cpu", "--split", "train", "--videos", tmp_path / "videos", "--out", out)
    said = run("tools.report", checkpoint.parent, *flags).stderr
    assert said.count("has no page: no video is called ") == 8
    assert f"row 7 has no page: no video is called {footage.good[7].video_id}\n" in said

    page = Page((out / "report.html").read_text(encoding="utf-8"))
    assert [reference for reference in page.references if not reference.startswith("data:")] == ["video_00000.html"]
    html = (out / "video_00000.html").read_text(encoding="utf-8")
    assert f'src="../videos/{video.video_id}.mp4"' in html
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])
    spans = {kind: [(each["name"], each["start"], each["end"]) for each in data[kind]] for kind in ("truth", "events")}
    assert spans["truth"] == [(video.event, video.start, video.end)]
    predicted = [row["predicted"] for row in predictions(out / "predictions.csv") if row["id"] == video.video_id]
    expected = [
        next((name for name, start, end in spans["events"] if start <= k < end), "background") for k in range(5)
    ]
    assert predicted == expected
    assert len(base64.b64decode(data["attention"]["visual attention"]["values"])) == 5 * 7 * 7
    assert [gate["name"] for gate in data["gates"]] == ["picture gate", "sound gate", "multimodal gate"]


def test_what_cannot_be_reported_is_said_in_a_sentence(run, tmp_path, trained, data_root):
    (tmp_path / "empty").mkdir()
    result = run("tools.report", tmp_path / "empty", "--gpu", "cpu", status=2)
    assert "holds no best.pth.tar" in result.stderr

    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(trained("supervised") / "best.pth.tar", broken)
    (broken / "metrics.csv").write_text("epoch,loss\n1,low\n")
    result = run("tools.report", broken, "--data_root", data_root, "--gpu", "cpu", status=2)
    assert "metrics.csv: not the metrics of a run" in result.stderr
    assert not (broken / "report").exists()


def test_predictions_need_an_evaluation_and_a_folder(run, trained, tmp_path):
    result = run("supv_main.py", "--predictions", tmp_path / "p.csv", status=2)
    assert "--predictions is written by --evaluate" in result.stderr
    arguments = ("--gpu", "cpu", "--evaluate", "--resume", trained("supervised") / "best.pth.tar", "--predictions")
    result = run("supv_main.py", *arguments, tmp_path / "nowhere" / "p.csv", status=2)
    assert "there is no directory" in result.stderr


# -------------------------------------------------------------------------------------------------------- browser

MEASURE = """
<!doctype html><meta charset="utf-8"><body><script>
const page = %s, widths = %s, measured = [];
let waiting = widths.length;
for (const width of widths) {
  const frame = document.createElement('iframe');
  frame.style = `border:0;width:${width}px;height:900px`;
  frame.onload = () => {
    const inside = frame.contentDocument, root = inside.documentElement;
    const type = element => parseFloat(inside.defaultView.getComputedStyle(element).fontSize);
    measured.push({
      width,
      inner: frame.contentWindow.innerWidth,
      scroll: root.scrollWidth,
      images: [...inside.images].map(
        image => ({ok: image.complete && image.naturalWidth > 0, css: image.clientWidth, px: image.naturalWidth})),
      wide: [...inside.querySelectorAll('body *')].filter(element => !element.parentElement.closest('.scroll'))
        .filter(element => (box => box.right > width + 0.5 || box.left < 0)(element.getBoundingClientRect()))
        .map(element => element.tagName),
      smallest: Math.min(...[...inside.querySelectorAll('p, td, th, li, span, figcaption')].map(type)),
      fetched: [window, frame.contentWindow].flatMap(each => each.performance.getEntriesByType('resource'))
        .map(entry => entry.name).filter(name => !name.startsWith('data:')),
    });
    if (!--waiting) { document.body.innerHTML = ''; document.body.textContent = JSON.stringify(measured); }
  };
  frame.srcdoc = page;
  document.body.append(frame);
}
</script>
"""


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")
@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_page_fits_a_desktop_and_a_phone_in_a_browser(reported, tmp_path, setting):
    """At either width nothing sticks out of the page, every picture is shown, type is legible, nothing is fetched."""
    html = (reported(setting) / "report.html").read_text(encoding="utf-8")
    harness = tmp_path / "harness.html"
    harness.write_text(MEASURE % (json.dumps(html).replace("</", "<\\/"), [1280, 390]), encoding="utf-8")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1300,1000", "--timeout=20000"),
        *("--virtual-time-budget=20000", "--dump-dom", harness.as_uri()),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    found = re.search(r"<body>(\[.*\])</body>", result.stdout, re.DOTALL)
    assert found, result.stdout[-2000:] + result.stderr[-2000:]
    measured = {each["width"]: each for each in json.loads(found[1])}
    assert measured.keys() == {1280, 390}
    for width, page in measured.items():
        assert page["inner"] == width
        assert page["scroll"] <= width
        assert page["wide"] == []
        assert page["fetched"] == []
        assert page["smallest"] >= 13
        assert len(page["images"]) == len(PICTURES | CURVES)
        assert all(image["ok"] for image in page["images"])
        # 8 points at 200 dots an inch are 22 pixels high: 8 of them remain on a phone.
        assert all(image["css"] / image["px"] >= 0.36 for image in page["images"])
