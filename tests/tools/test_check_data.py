"""The doctor as its user meets it."""

import shutil
import signal
from shlex import split

import h5py
import pytest

from tests.processes import Process
from utils.wording import command_line


def test_sound_folder_is_a_table_and_status_0(run, wide_data_root):
    result = run("tools.check_data", "--data_root", wide_data_root)
    lines = result.stdout.splitlines()
    assert lines[2].split() == ["file", "key", "shape", "type", "size", "values"]
    assert lines[3].split()[:2] == ["visual_feature.h5", "avadataset"]
    assert "(60, 10, 2, 2, 512)  float16" in lines[3]
    assert lines[14:] == ["", "supervised: can run", "weakly: can run"]
    assert result.stderr == ""


def test_full_look_shows_how_far_it_is_beside_the_report(run, wide_data_root):
    result = run("tools.check_data", "--data_root", wide_data_root, "--full")
    assert "in all rows" in result.stdout
    assert "reading visual_feature.h5" not in result.stdout
    assert "\r" not in result.stderr


def test_status_is_0_as_long_as_one_setting_can_run(run, wide_data_root, tmp_path):
    root = shutil.copytree(wide_data_root, tmp_path / "data")
    (root / "audio_feature_noisy.h5").unlink()
    out = run("tools.check_data", "--data_root", root).stdout
    assert "supervised: can run\nweakly: CANNOT RUN\n" in out
    assert f"error [weakly]: {root / 'audio_feature_noisy.h5'}: is missing\n  -> " in out
    (root / "train_order.h5").unlink()
    out = run("tools.check_data", "--data_root", root, status=1).stdout
    assert "supervised: CANNOT RUN\nweakly: CANNOT RUN\n" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data_root", "nowhere"], "nowhere: not a directory, expected one with the files of the AVE layout"),
        (["--data_root", "README.md"], "README.md: not a directory"),
        (["--ful"], "unrecognized arguments: --ful"),
    ],
)
def test_wrong_flags_are_one_sentence_and_status_2(run, data_root, arguments, said):
    given = arguments if "--data_root" in arguments else ["--data_root", data_root, *arguments]
    result = run("tools.check_data", *given, status=2)
    assert said in result.stderr
    assert result.stdout == ""


def test_interrupt_ends_a_full_look(tmp_path, data_root):
    """Of features that take some seconds to read, in a file without contents."""
    root = shutil.copytree(data_root, tmp_path / "data")
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    shape = h5py.h5s.create_simple((60, 10, 20, 20, 512))
    with h5py.File(root / "visual_feature.h5", "w") as file:
        h5py.h5d.create(file.id, b"avadataset", h5py.h5t.NATIVE_DOUBLE, shape, properties)
    with Process("tools.check_data", "--data_root", root, "--full") as process:
        line = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert line.startswith("reading visual_feature.h5 [")
    assert process.returncode == 130
    assert said.splitlines()[-1] == "interrupted"
    assert "Traceback" not in said


@pytest.mark.parametrize(("script", "setting"), [("supv_main.py", "supervised"), ("weakly_main.py", "weakly")])
def test_entry_scripts_refuse_to_train_on_what_the_doctor_finds(
    run, data_root, small_config, tmp_path, script, setting
):
    root = shutil.copytree(data_root, tmp_path / "data")
    with h5py.File(root / "val_order.h5", "r+") as file:
        file["order"][0] = file["order"][1]
    with h5py.File(root / "right_labels.h5", "r+") as file:
        file["avadataset"][:31] = file["avadataset"][29:60]
    result = run(
        script,
        *("--gpu", "cpu", "--data_root", root, "--config", small_config(setting)),
        *("--snapshot_pref", tmp_path / "run"),
        status=2,
    )
    assert f"{root / 'val_order.h5'}: names 1 row more than once" in result.stderr
    assert f"{root / 'right_labels.h5'}: differs from Annotations.txt in 31 of 60 rows (0, 1, 2" in result.stderr
    assert command_line("check_data", "--data_root", root) in result.stderr
    assert not (tmp_path / "run").exists()


def test_entry_script_trains_on_labels_of_the_older_release_and_warns_with_the_rows(
    run, data_root, small_config, tmp_path
):
    """Two rows carry a second event, as in AVE's labels.h5; the command in the warning makes corrected labels."""
    root = shutil.copytree(data_root, tmp_path / "my data")
    (root / "right_labels.h5").rename(root / "labels.h5")
    with h5py.File(root / "labels.h5", "r+") as file:
        labels = file["avadataset"]
        for row in (7, 30):
            labels[row] = [*[[0] * 11 + [1] + [0] * 15 + [1, 0]] * 2, *[[0] * 28 + [1]] * 8]  # events 11 and 27
    train = ("--gpu", "cpu", "--data_root", root, "--n_epoch", 1)
    said = run("supv_main.py", *train, "--snapshot_pref", tmp_path / "run").stderr
    assert f"warning: {root / 'labels.h5'}: differs from Annotations.txt in 2 of 60 rows (7, 30)" in said
    assert "2 x event 11 + event 27, 8 x background" in said
    command = command_line("make_labels", "--annotations", root / "Annotations.txt", "--out", root)
    assert f"  make it from the annotations: {command}\n" in said
    assert (tmp_path / "run" / "best.pth.tar").exists()

    run(*split(command.removeprefix("python -m ")))
    report = run("tools.check_data", "--data_root", root).stdout
    assert "warning" not in report
    assert f"{root / 'labels.h5'}: is not read, right_labels.h5 wins" in report
