"""Predictions of any network, measured: those of a run give the table of its evaluation, bad files are refused."""

import shutil

import h5py
import numpy as np
import pytest

from engine.evaluation.measures import most_predicted_events


@pytest.fixture(scope="module")
def evaluated(run, trained, data_root, tmp_path_factory):
    """predictions.csv of a weakly-supervised run, and the table that its evaluation prints."""
    path = tmp_path_factory.mktemp("measured") / "predictions.csv"
    flags = ("--gpu", "cpu", "--evaluate", "--resume", trained("weakly") / "best.pth.tar", "--predictions", path)
    result = run("weakly_main.py", *flags, "--data_root", data_root)
    return path, result.stderr[result.stderr.index("test split, 6 videos") : result.stderr.index("predictions: ")]


@pytest.fixture(scope="module")
def arrays(evaluated, data_root):
    """The same predictions as arrays, and the rows of the split."""
    lines = np.genfromtxt(evaluated[0], delimiter=",", names=True, dtype=None, encoding="utf-8")
    classes = {name: k for k, name in enumerate([f"event {k:02d}" for k in range(28)] + ["background"])}
    return {
        "predicted": np.array([classes[name] for name in lines["predicted"]]).reshape(-1, 10),
        "event_probability": lines["event_probability"].reshape(-1, 10),
        "rows": lines["row"].reshape(-1, 10)[:, 0],
    }


def without_names(text):
    """All lines but that of the names, which the evaluation knows from the scores of videos."""
    return [line.replace("IT", "it") for line in text.splitlines() if not line.startswith("videos named right")]


def write(folder, suffix, arrays):
    path = folder / f"predictions{suffix}"
    if suffix == ".npy":
        np.save(path, arrays["predicted"])
    elif suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
    return path


def test_predictions_of_a_run_have_the_measures_of_its_evaluation(run, evaluated, data_root):
    path, expected = evaluated
    assert without_names(run("tools.measure", path, "--data_root", data_root).stdout) == without_names(expected)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_arrays_have_the_measures_of_the_same_predictions_csv(run, evaluated, arrays, data_root, tmp_path, suffix):
    expected = run("tools.measure", evaluated[0], "--data_root", data_root).stdout
    found = run("tools.measure", write(tmp_path, suffix, arrays), "--data_root", data_root).stdout
    if suffix == ".npy":  # which holds no probabilities
        expected, found = ([line for line in text.splitlines() if "AUC" not in line] for text in (expected, found))
        expected = expected[: len(found)]
    assert found == expected


def test_video_without_scores_is_named_by_its_segments(run, arrays, data_root, tmp_path):
    truth = h5py.File(data_root / "right_labels.h5")["avadataset"][()][arrays["rows"]].argmax(-1)
    named = 100 * np.mean(most_predicted_events(arrays["predicted"], 28) == np.where(truth < 28, truth, -1).max(axis=1))
    found = run("tools.measure", write(tmp_path, ".npz", arrays), "--data_root", data_root).stdout
    assert f"videos named right {named:.1f} %".split() == next(
        line.split()[:5] for line in found.splitlines() if line.startswith("videos named")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"predicted": np.zeros((6, 9), int)},
            "predicted has shape (6, 9), type int64, expected (6, 10), whole numbers",
        ),
        ({"predicted": np.zeros((6, 10, 29))}, "give the class of each segment, scores.argmax(-1)"),
        ({"predicted": np.zeros((6, 10))}, "type float64, expected (6, 10), whole numbers"),
        ({"predicted": np.full((6, 10), 29)}, "predicts class 29 (video 0, second 0), expected 0 to 27 for the events"),
        ({"predicted": None}, "has no array 'predicted'"),
        ({"event_probability": np.full((6, 10), np.nan)}, "event_probability has values that are not finite"),
        ({"event_probability": np.zeros((10, 6))}, "event_probability has shape (10, 6)"),
        ({"rows": np.arange(6)}, "is not in the order of"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "-".join(value),
)
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_array_that_does_not_fit_the_split_is_refused(run, arrays, data_root, tmp_path, change, said, suffix):
    changed = {name: values for name, values in {**arrays, **change}.items() if values is not None}
    path = write(tmp_path, suffix, changed)
    error = run("tools.measure", path, "--data_root", data_root, status=2).stderr
    assert f"{path}: " in error
    assert said in error


@pytest.mark.parametrize("contents", [b"", b"not an array", b"PK\x03\x04" + bytes(100)])
@pytest.mark.parametrize("suffix", [".csv", ".npy", ".npz", ".hdf5"])
def test_file_that_holds_no_predictions_is_refused(run, data_root, tmp_path, suffix, contents):
    path = tmp_path / f"predictions{suffix}"
    path.write_bytes(contents)
    assert f"{path}: cannot be read" in run("tools.measure", path, "--data_root", data_root, status=2).stderr


def test_file_of_another_kind_or_nowhere_is_refused(run, data_root, tmp_path):
    error = run("tools.measure", tmp_path / "predictions.txt", "--data_root", data_root, status=2).stderr
    assert "ends with '.txt', expected one of .csv, .h5, .hdf5, .npy, .npz" in error
    for suffix in (".csv", ".npy", ".npz", ".h5"):
        error = run("tools.measure", tmp_path / f"none{suffix}", "--data_root", data_root, status=2).stderr
        assert "cannot be read: No such file or directory" in error or "predictions.csv: No such file" in error


def test_predictions_of_another_split_or_folder_are_refused(run, evaluated, data_root, tmp_path):
    path, _ = evaluated
    error = run("tools.measure", path, "--data_root", data_root, "--split", "val", status=2).stderr
    assert "is not in the order of" in error
    assert "Name the --split" in error
    for name in ("right_labels.h5", "test_order.h5", "Annotations.txt"):
        shutil.copy(data_root / name, tmp_path / name)
    text = path.read_text()
    (tmp_path / "renamed.csv").write_text(text.replace("event 0", "other 0").replace("event 1", "other 1"))
    error = run("tools.measure", tmp_path / "renamed.csv", "--data_root", tmp_path, status=2).stderr
    assert "which is no event of the data folder" in error
    (tmp_path / "short.csv").write_text("".join(text.splitlines(keepends=True)[:-3]))
    error = run("tools.measure", tmp_path / "short.csv", "--data_root", tmp_path, status=2).stderr
    assert "it has 57 lines, expected the 10 seconds of each video in order" in error
    with h5py.File(tmp_path / "right_labels.h5", "r+") as file:
        file["avadataset"][...] = np.roll(file["avadataset"][()], 1, axis=0)
    error = run("tools.measure", path, "--data_root", tmp_path, status=2).stderr
    assert "was made with other labels than" in error
