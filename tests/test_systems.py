"""The program needs nothing that Windows lacks; Windows itself was not seen."""

import csv

import torch


def test_names_are_hidden(run_without_posix):
    code = "import multiprocessing, signal; print(multiprocessing.get_all_start_methods(), dir(signal))"
    hidden = run_without_posix("-c", code).stdout
    assert "['spawn']" in hidden
    assert "pthread_sigmask" not in hidden


def metrics(folder):
    """The columns of a run that are no times."""
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name not in ("seconds", "videos_per_s")} for row in rows]


def test_run_is_trained_from_streamed_features_resumed_and_evaluated(
    run, run_without_posix, data_root, small_config, tmp_path
):
    """With the same numbers as elsewhere, whatever starts the processes that read features."""
    flags = ("weakly_main.py", "--gpu", "cpu", "--data_root", data_root, "--config", small_config("weakly"))
    flags = (*flags, "--features", "stream", "--num_workers", 1, "--b", 16)
    for runs, folder in ((run, tmp_path / "here"), (run_without_posix, tmp_path / "there")):
        runs(*flags, "--snapshot_pref", folder, "--n_epoch", 1)
        runs(*flags, "--snapshot_pref", folder, "--n_epoch", 2, "--resume", "auto")
    assert metrics(tmp_path / "there") == metrics(tmp_path / "here")
    last = [torch.load(tmp_path / each / "last.pth.tar", weights_only=True)["weights"] for each in ("here", "there")]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])

    evaluation = ("weakly_main.py", "--gpu", "cpu", "--evaluate", "--test_batch_size", 2)
    results = [
        runs(*evaluation, "--resume", tmp_path / "there/best.pth.tar").stdout for runs in (run, run_without_posix)
    ]
    assert results[0] == results[1]
