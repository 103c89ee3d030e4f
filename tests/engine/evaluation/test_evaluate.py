"""``--evaluate`` through the entry scripts: what is scored, how, and what is said."""

import csv
import re
import shutil
from dataclasses import replace

import pytest
import torch

from engine.checkpoint import save_checkpoint
from model.checkpoint import load_checkpoint
from tests.conftest import SCRIPTS
from tests.processes import ROOT
from tests.reference import seeded

RESULT = re.compile(r"Evaluation results \(acc\): (\d+\.\d{4})%\.")
OTHER = {"supervised": "weakly", "weakly": "supervised"}


def accuracy_of(result):
    return float(RESULT.fullmatch(result.stdout.splitlines()[-1])[1])


def score(run, setting, path, data_root, *flags, status=0):
    arguments = ("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--resume", path, *flags)
    return run(SCRIPTS[setting], *arguments, status=status)


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_published_file_is_scored_as_it_was_made(run, published, seeded_data, setting):
    result = score(run, setting, published / f"{setting}.pth.tar", seeded_data)
    assert accuracy_of(result) == seeded.expected(setting, "batch")["accuracy"]
    assert "in the authors' format" in result.stderr
    assert "fp64, batches of 16, which share attention" in result.stderr
    assert "warning" not in result.stderr


def without_prefix(weights):
    return {name.removeprefix("module."): value for name, value in weights.items()}


@pytest.mark.parametrize(
    ("kept", "zipped"),
    [
        (without_prefix, True),
        (lambda weights: {"state_dict": weights, "epoch": 43, "score": 80.199}, True),
        (lambda weights: {"model": without_prefix(weights), "optimizer": {"state": {}}}, True),
        (lambda weights: {"epoch": 43, "model_state_dict": weights}, True),
        (lambda weights: weights, False),  # the format before torch 1.6
        (lambda weights: {"state_dict": without_prefix(weights)}, False),
    ],
    ids=["no prefix", "state_dict", "model, no prefix", "model_state_dict", "old format", "old format, state_dict"],
)
def test_published_weights_are_read_the_same_however_they_are_kept(published, tmp_path, kept, zipped):
    """An evaluation reads nothing else of the file."""
    plain = published / "supervised.pth.tar"
    contents = torch.load(plain, weights_only=True)
    torch.save(kept(contents), tmp_path / "kept.pth", _use_new_zipfile_serialization=zipped)
    expected, found = (load_checkpoint(path) for path in (plain, tmp_path / "kept.pth"))
    assert found.published
    for name, weight in expected.weights.items():
        assert torch.equal(found.weights.pop(name), weight)
    assert found == replace(expected, path=found.path, weights={})


@pytest.mark.parametrize(
    ("setting", "path", "advice"),
    [
        ("supervised", "./Exps/Supv/Supervised_model.pth.tar", "python -m tools.download --checkpoint"),
        ("weakly", "./Exps/WeaklySupv/WeaklySupervised_model.pth.tar", "the best.pth.tar of a run of yours"),
    ],
)
def test_evaluation_command_of_the_readme_says_how_to_get_its_file(run, setting, path, advice):
    """In a fresh clone, which has no checkpoint."""
    if (ROOT / path).exists():
        pytest.skip(f"{path} is there")
    result = run(SCRIPTS[setting], "--gpu", 0, "--evaluate", "--print_freq", 1, "--resume", path, status=2)
    assert "does not exist" in result.stderr
    assert advice in result.stderr


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_published_file_can_be_scored_otherwise_with_a_warning(run, published, seeded_data, setting):
    result = score(run, setting, published / f"{setting}.pth.tar", seeded_data, "--scope", "video")
    assert accuracy_of(result) == seeded.expected(setting, "video")["accuracy"]
    assert "warning: --scope video is not as published (batch)" in result.stderr


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_file_of_the_other_setting_is_named_for_what_it_is(run, published, trained, setting):
    kinds = {"supervised": "fully supervised", "weakly": "weakly-supervised"}
    for path in (published / f"{OTHER[setting]}.pth.tar", trained(OTHER[setting]) / "best.pth.tar"):
        result = run(SCRIPTS[setting], "--gpu", "cpu", "--evaluate", "--resume", path, status=2)
        assert f"is a {kinds[OTHER[setting]]} checkpoint" in result.stderr
        assert SCRIPTS[OTHER[setting]] in result.stderr


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_evaluation_repeats_the_accuracy_that_training_logged(run, trained, data_root, setting):
    """Scope, precision, config and class names come from the checkpoint: no flag but the data is given."""
    folder = trained(setting)
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    best = max(rows, key=lambda row: float(row["test_accuracy"]))
    for split in ("test", "val"):
        result = run(
            SCRIPTS[setting],
            *("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--split", split),
            *("--resume", folder / "best.pth.tar"),
        )
        assert accuracy_of(result) == pytest.approx(float(best[f"{split}_accuracy"]), abs=5e-5)
        line = f"{split}: {result.stdout.splitlines()[-1]}"
        assert line in (folder / "train.log").read_text()


def table_of(text):
    """The column of the network in the table of measures: the texts of its cells by the name of the row."""
    lines = text.splitlines()
    head = next(number for number, line in enumerate(lines) if "this network" in line)
    end = lines[head].index("this network") + len("this network")
    return dict(re.split(r"  +", line[:end].strip(), maxsplit=1) for line in lines[head + 1 : head + 13])


@pytest.mark.parametrize("setting", seeded.SETTINGS)
def test_table_of_measures_agrees_with_the_predictions(run, trained, data_root, tmp_path, setting):
    flags = ("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--resume", trained(setting) / "best.pth.tar")
    result = run(SCRIPTS[setting], *flags, "--split", "train", "--predictions", tmp_path / "predictions.csv")
    table = table_of(result.stderr)
    assert table["segment accuracy"] == f"{accuracy_of(result):.1f} %"
    with open(tmp_path / "predictions.csv", newline="") as file:
        segments = list(csv.DictReader(file))
    events = [row for row in segments if row["truth"] != "background"]
    background = [row for row in segments if row["truth"] == "background"]
    partial = {row["row"] for row in events} & {row["row"] for row in background}
    assert f"train split, 48 videos, {len(partial)} of them partial" in result.stderr
    for name, counted in (
        ("event seconds right", events),
        ("background seconds right", background),
        ("partial videos: accuracy", [row for row in segments if row["row"] in partial]),
    ):
        right = sum(row["truth"] == row["predicted"] for row in counted)
        assert table[name] == f"{100 * right / len(counted):.1f} %", name
    areas = []
    for video in partial:
        inside, outside = (
            [float(row["event_probability"]) for row in rows if row["row"] == video] for rows in (events, background)
        )
        areas.append(sum((a > b) + (a == b) / 2 for a in inside for b in outside) / len(inside) / len(outside))
    assert float(table["localization AUC"]) == pytest.approx(sum(areas) / len(areas), abs=2e-3)


@pytest.mark.parametrize("bias", [5, -5])
def test_network_that_does_not_localize_is_named(run, trained, data_root, tmp_path, bias):
    """One that has the same event probability in every second, above or below the threshold."""
    contents = torch.load(trained("supervised") / "best.pth.tar", weights_only=True)
    contents["weights"]["localization.is_event.weight"].zero_()
    contents["weights"]["localization.is_event.bias"].fill_(bias)
    save_checkpoint(tmp_path / "constant.pth.tar", contents)
    flags = ("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--resume", tmp_path / "constant.pth.tar")
    result = run("supv_main.py", *flags)
    warning = result.stderr.splitlines()[-1]
    assert warning.startswith("This network DOES NOT LOCALIZE EVENTS: ")
    assert "localization AUC 0.50, chance 0.50" in warning
    assert ("finds 0.0 % of the background seconds" in warning) == (bias > 0)
    assert result.stdout == f"Evaluation results (acc): {accuracy_of(result):.4f}%.\n"


def test_flags_override_what_the_checkpoint_says(run, trained, data_root):
    result = run(
        "supv_main.py",
        *("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--resume", trained("supervised") / "best.pth.tar"),
        *("--scope", "batch", "--precision", "bf16", "--test_batch_size", "3", "--num_workers", "2"),
    )
    assert "bf16, batches of 3, which share attention" in result.stderr
    accuracy_of(result)


@pytest.mark.parametrize("annotated", [None, "other events", "fewer events"])
def test_events_have_the_names_that_the_checkpoint_was_trained_with(run, trained, data_root, tmp_path, annotated):
    names = {f"event {k:02d}" for k in range(28)} | {"background"}
    root = tmp_path / "data"
    shutil.copytree(data_root, root)
    lines = (root / "Annotations.txt").read_text().replace("event ", "thing ").splitlines(keepends=True)
    (root / "Annotations.txt").unlink()
    if annotated:
        (root / "Annotations.txt").write_text("".join(lines if annotated == "other events" else lines[:20]))
    result = run(
        "supv_main.py",
        *("--gpu", "cpu", "--evaluate", "--data_root", root, "--resume", trained("supervised") / "best.pth.tar"),
        *("--split", "train", "--predictions", tmp_path / "predictions.csv"),
    )
    assert ("was trained for other events" in result.stderr) == (annotated is not None)
    assert ("only one of them has 'event 00', 'event 01'," in result.stderr) == (annotated is not None)
    with open(tmp_path / "predictions.csv", newline="") as file:
        found = {row["truth"] for row in csv.DictReader(file)}
    assert found < names
    assert len(found) > 20


def test_data_without_one_of_the_events_are_no_score(run, trained, data_root, tmp_path):
    root = shutil.copytree(data_root, tmp_path / "data")
    text = (root / "Annotations.txt").read_text()
    (root / "Annotations.txt").write_text(text.replace("event 27", "event 26"))
    run("tools.make_labels", "--annotations", root / "Annotations.txt", "--out", root, "--overwrite")
    for flags in (("--evaluate",), ("--n_epoch", 4)):
        checkpoint = trained("supervised") / "last.pth.tar"
        said = run("supv_main.py", "--gpu", "cpu", "--data_root", root, "--resume", checkpoint, *flags, status=2).stderr
        assert f"other events than those of {root}: only one of them has 'event 27'\n" in said
        assert "28 events" in said or "num_events 27 where the config has 28" in said


def test_events_in_another_order_are_no_score(run, trained, data_root, tmp_path):
    root = shutil.copytree(data_root, tmp_path / "data")
    lines = (root / "Annotations.txt").read_text().splitlines(keepends=True)
    (root / "Annotations.txt").write_text("".join(reversed(lines)))
    said = score(run, "supervised", trained("supervised") / "best.pth.tar", root, status=2).stderr
    assert f"{root} has the events of {trained('supervised') / 'best.pth.tar'} in another order" in said


def test_train_split_can_be_scored(run, trained, data_root):
    result = run(
        "supv_main.py",
        *("--gpu", "cpu", "--evaluate", "--data_root", data_root, "--resume", trained("supervised") / "last.pth.tar"),
        *("--split", "train"),
    )
    assert "train split: 48 videos" in result.stderr


def test_gpu_without_cuda_runs_on_the_cpu_and_says_so(run, trained, data_root):
    result = run(
        "supv_main.py",
        *("--gpu", "0", "--evaluate", "--data_root", data_root, "--resume", trained("supervised") / "best.pth.tar"),
    )
    assert "no GPU here, running on the CPU" in result.stderr


def test_missing_data_is_listed_whole_with_where_to_get_it(run, tmp_path, trained):
    for arguments in ((), ("--evaluate", "--resume", trained("weakly") / "best.pth.tar")):
        result = run("weakly_main.py", "--gpu", "cpu", "--data_root", tmp_path, *arguments, status=2)
        files = {line.split()[0] for line in result.stderr.splitlines() if line.startswith("  ") and ".h5" in line}
        needed = {"visual_feature.h5", "audio_feature.h5", "right_labels.h5", "test_order.h5"}
        if not arguments:
            needed |= {"train_order.h5", "val_order.h5", "mil_labels.h5"}  # the noisy files are optional
        assert files == needed
        assert "python -m tools.make_data" in result.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("contents", [b"", b"not a checkpoint", b"PK\x03\x04" + bytes(100)])
def test_file_that_is_no_checkpoint_is_refused(run, tmp_path, contents):
    path = tmp_path / "file.pth.tar"
    path.write_bytes(contents)
    result = run("supv_main.py", "--gpu", "cpu", "--evaluate", "--resume", path, status=2)
    assert str(path) in result.stderr


def test_misshapen_weights_are_listed(run, tmp_path, trained, small_config, data_root):
    result = run(
        "supv_main.py",
        *("--gpu", "cpu", "--resume", trained("supervised") / "best.pth.tar", "--data_root", data_root),
        *("--snapshot_pref", tmp_path / "run"),
        status=2,
    )
    assert "the weights do not fit the network of the config" in result.stderr
    assert "localization.event.weight" in result.stderr
    assert not (tmp_path / "run").exists()
