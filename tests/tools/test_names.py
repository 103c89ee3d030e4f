"""Event names in any script: drawn literally by every picture, escaped in HTML, harmless in CSV files."""

import csv
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import h5py
import numpy as np
import pytest
import torch
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font

from engine.evaluation.predictions import spreadsheet_safe
from tests.evaluations import evaluation_of
from tests.processes import ROOT
from tools.drawing.fonts import DEFAULT, _families_for, font_families
from tools.drawing.plots import picture, shortened
from tools.drawing.timelines import Timeline
from tools.report.figures import draw_class_accuracy, draw_confusion, draw_modalities, draw_timelines
from tools.report.statistics import statistics
from tools.visualize.attention_figure import draw_attention

NAMES = [
    "Été, rain",
    "钟",
    "=1+1",
    "<b>",
    r"$\frac$",
    "_a^b & c",
]  # matplotlib cannot parse the formula: it would raise


# ---------------------------------------------------------------------------------------------------------- fonts


def drawn_with_fonts_of_matplotlib(tmp_path, *names):
    """Draw two pictures of names in a process that sees no font of the system; gives families and standard error."""
    code = """
import json, logging, sys
from pathlib import Path
from tools.drawing.fonts import font_families
from tools.drawing.plots import picture
logging.basicConfig(level=logging.INFO, format="%(message)s")
names = json.loads(sys.argv[1])
for number in range(2):
    with picture(Path(sys.argv[2]) / f"{number}.png", 4, 2, names) as figure:
        figure.subplots().set_yticks(range(len(names)), names)
print(json.dumps(font_families(names)))
"""
    environment = {**os.environ, "MPL_IGNORE_SYSTEM_FONTS": "1", "MPLCONFIGDIR": str(tmp_path)}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, json.dumps(names), str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), result.stderr


def test_letters_that_only_another_font_has_are_drawn_with_it(tmp_path):
    """Hiragana no: of the fonts that come with matplotlib, STIXGeneral alone has it."""
    families, stderr = drawn_with_fonts_of_matplotlib(tmp_path, "Été, rain", "の", "Привет")
    assert families == [DEFAULT, "STIXGeneral"]
    assert stderr == ""


def test_letters_of_no_font_are_named_in_one_sentence_and_matplotlib_is_silent(tmp_path):
    families, stderr = drawn_with_fonts_of_matplotlib(tmp_path, "Été, rain", "钟 in の", "表")
    assert families == [DEFAULT, "STIXGeneral"]
    (line,) = stderr.splitlines()
    assert line.startswith("warning: no installed font has the letters 表 钟, pictures show boxes")


def test_any_installed_font_is_found_even_if_matplotlib_does_not_list_it_yet(caplog):
    """Checked against the fonts that happen to be installed here."""
    _families_for.cache_clear()
    caplog.set_level(logging.WARNING)
    families = font_families(["钟"])

    def has_letter(path):
        try:
            return FT2Font(path).get_char_index(ord("钟"))
        except (OSError, RuntimeError):
            return False

    installed = any(map(has_letter, findSystemFonts()))
    assert (len(families) == 2) == installed
    assert ("no installed font has the letters 钟" in caplog.text) != installed


def test_wide_letters_take_the_room_of_two():
    assert shortened("鐘鐘鐘鐘", 8) == "鐘鐘鐘鐘"
    assert shortened("鐘鐘鐘鐘", 7) == "鐘鐘鐘…"
    assert shortened("Fixed-wing aircraft, airplane", 21) == "Fixed-wing aircraft…"
    assert shortened("video\udcff.mp4", 20) == "video?.mp4"


# ---------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.filterwarnings("error")
def test_every_picture_draws_names_literally(tmp_path):
    names = [*NAMES, "background"]
    truth = torch.arange(len(NAMES)).repeat(2, 1).T.contiguous()
    stats = statistics(evaluation_of(truth, truth, len(NAMES)))
    gates = {name: np.full(len(NAMES), 0.5) for name in "abc"}
    classes = np.arange(len(NAMES)).repeat(4)
    draw_class_accuracy(tmp_path / "a.png", stats, names, 100)
    draw_confusion(tmp_path / "b.png", stats, names)
    draw_modalities(tmp_path / "c.png", gates, names, range(len(NAMES)), "gate")
    lines = [Timeline(NAMES[4], classes, classes, np.full(len(classes), 0.5))]
    draw_timelines(tmp_path / "d.png", lines, names, 0.7)
    maps = {"m1": np.full((len(classes), 1, 1), 1.0)}
    draw_attention(
        tmp_path / "e.png", lines[0], maps, {name: np.full(len(classes), 0.5) for name in NAMES[:3]}, names, 0.7
    )
    assert len(list(tmp_path.glob("?.png"))) == 5


def test_formula_is_as_wide_as_its_letters(tmp_path):
    with picture(tmp_path / "a.png", 4, 2) as figure:
        formula, letters = figure.text(0, 0, "$x_1$"), [figure.text(0, 0, letter) for letter in "$x_1$"]
        width = sum(text.get_window_extent().width for text in letters)
        assert formula.get_window_extent().width == pytest.approx(width, rel=0.1)


# ---------------------------------------------------------------------------------------------------------- report


class Cells(HTMLParser):
    """The texts of the table's cells."""

    def __init__(self, html):
        super().__init__()
        self.texts, self.open = [], False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        if tag == "td":
            self.texts.append("")
            self.open = True

    def handle_endtag(self, tag):
        self.open &= tag != "td"

    def handle_data(self, data):
        if self.open:
            self.texts[-1] += data


@pytest.mark.slow
def test_report_escapes_names_and_its_csv_holds_no_formula(run, published, seeded_data, tmp_path):
    """The events of the data folder name the classes of a published checkpoint."""
    root = shutil.copytree(seeded_data, tmp_path / "data")
    names = [NAMES[k % len(NAMES)].replace("&", "+") + (f" {k}" if k >= len(NAMES) else "") for k in range(28)]
    ids = ["-ehPYvdzlCA", "=1+1", "-1+1", "@v", "../../x", *map(str, range(23))]
    lines = [f"{name}&{video_id}&good&0&10\n" for name, video_id in zip(names, ids, strict=True)]
    (root / "Annotations.txt").write_text("".join(lines), encoding="utf-8")
    out = tmp_path / "report"
    result = run("tools.report", published / "supervised.pth.tar", "--data_root", root, "--gpu", "cpu", "--out", out)
    assert not re.search("Glyph|Warning", result.stderr)

    with h5py.File(root / "right_labels.h5") as file:
        present = sorted(set(file["avadataset"][:].argmax(-1).ravel().tolist()) - {28})
    html = (out / "report.html").read_text(encoding="utf-8")
    table = html[html.rindex("<table") :]  # of the classes, the last one
    assert Cells(table).texts[::6] == [*(names[k] for k in present), "background"]

    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["truth"] for row in rows} == {*(spreadsheet_safe(names[k]) for k in present), "background"}
    assert list(dict.fromkeys(row["id"] for row in rows)) == ["-ehPYvdzlCA", "'=1+1", "'-1+1", "'@v", "../../x"]
    assert {path.name for path in tmp_path.iterdir()} == {"data", "report"}
    assert not any(re.match("[=+@\t\r]", cell) for row in rows for cell in row.values())


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_formula_becomes_text(text):
    assert spreadsheet_safe(text) == f"'{text}"


@pytest.mark.parametrize("text", ["Été, rain", "钟", "<b>", "a=1", "'quoted'", ""])
def test_other_text_stays_as_it_is(text):
    assert spreadsheet_safe(text) == text
