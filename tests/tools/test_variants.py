"""Report and attention maps of networks without some of their parts: they leave these out, and say so."""

import h5py
import pytest


@pytest.fixture(scope="module")
def row(data_root):
    """A row of the test split."""
    with h5py.File(data_root / "test_order.h5") as file:
        return int(file["order"][0])


@pytest.mark.slow
def test_report_leaves_out_what_a_variant_lacks(run, variant_run, data_root, tmp_path):
    folder = variant_run("supervised", "no-a2v", "no-unimodal-gates")
    run("tools.report", folder, "--data_root", data_root, "--gpu", "cpu", "--out", tmp_path)
    page = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert "no-a2v, no-unimodal-gates." in page
    assert "multimodal gate 0." in page
    assert "picture gate 0." not in page


def test_attention_figure_leaves_out_what_a_variant_lacks(run, variant_run, data_root, row, tmp_path):
    checkpoint = variant_run("weakly", "no-audio-guidance") / "best.pth.tar"
    arguments = ("--data_root", data_root, "--gpu", "cpu", "--rows", row, "--out", tmp_path)
    run("tools.visualize", checkpoint, *arguments)
    assert (tmp_path / f"attention_{row:05d}.png").stat().st_size > 0


def test_attention_of_a_variant_without_any_is_refused(run, variant_run, data_root, row, tmp_path):
    checkpoint = variant_run("supervised", "no-a2v", "no-unimodal-gates") / "best.pth.tar"
    arguments = ("--data_root", data_root, "--gpu", "cpu", "--rows", row, "--out", tmp_path)
    result = run("tools.visualize", checkpoint, *arguments, status=2)
    assert "its network has no attention to draw" in result.stderr
    assert not list(tmp_path.iterdir())
