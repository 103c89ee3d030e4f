"""Several processes extract features together: shards, any number of them at once, and a job array on Slurm."""

import re
import signal
import time

import h5py
import numpy as np
import pytest

from tests.documented import call
from tests.processes import Process, finished
from tests.videos import grey, tone, write_video

NUMBER = 7
FILES = ("visual_feature.h5", "audio_feature.h5")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Videos of 2 seconds, each of its own grey and tone, and one that is broken."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUMBER):
        write_video(
            folder / f"-v{number}.mp4", 2, lambda _, n=number: grey(30 * n + 20), tone(200 * number + 200, 0, 1)
        )
    (folder / "broken.mp4").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def command(videos, networks):
    """The extraction, without --out."""
    flags = ("--visual", networks / "resnet", "--audio", networks / "wav2vec2", "--map_size", 3, "--gpu", "cpu")
    return ("tools.extract_features", videos, *flags, "--segments", 2, "--frames_per_second", 4, "--out")


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory):
    """The features that one process has made. Read them, do not change them."""
    out = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert call(monkeypatch, *command, out) == 1  # one video is broken
    return features(out)


def features(out):
    found = []
    for name in FILES:
        with h5py.File(out / name) as file:
            found.append(file["avadataset"][()])
    return found


def equal(one, other):
    return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


@pytest.mark.slow
def test_shards_at_once_one_of_them_twice_and_one_killed_make_what_one_process_makes(
    command, alone, monkeypatch, caplog, tmp_path
):
    out = tmp_path / "out"
    shards = [Process(*command, out, "--shard", f"{number}/4") for number in (1, 2, 3, 4, 4)]
    while not list(out.glob("extracted/*.npz")):
        assert not all(shard.ended() for shard in shards), [shard.stderr.read() for shard in shards]
        time.sleep(0.01)
    shards[0].kill()
    for shard in shards:
        with shard:
            said = shard.stderr.read()
            assert "Traceback" not in said
        assert shard.wait() in (0, -signal.SIGKILL)
    assert not list(out.glob("*.h5"))
    (out / "extracted/-v0.npz").unlink(missing_ok=True)  # of the one that was killed, whether it got there or not

    assert call(monkeypatch, *command, out, "--shard", "1/4") == 0
    made = {path.name: path.stat().st_mtime_ns for path in out.glob("extracted/*.npz")}
    assert len(made) == NUMBER
    caplog.set_level("INFO")
    assert call(monkeypatch, *command, out) == 1
    assert f"{NUMBER} of {NUMBER + 1} videos were extracted before; missing: broken\n" in caplog.text
    assert "1 of 8 videos are left out:\n  row 7: broken cannot be decoded" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("extracted/*.npz")} == made
    assert equal(features(out), alone)
    assert (out / "video_ids.txt").read_text().split() == [f"-v{number}" for number in range(NUMBER)]


@pytest.mark.slow
def test_slurm_gets_the_shards_as_one_job_array(command, alone, slurm, monkeypatch, tmp_path):
    variables, calls = slurm
    out = tmp_path / "out"
    flags = ("--cluster", "slurm", "--jobs", 2, "--partition", "gpus", "--gpus", 0, "--cpus", 3, "--hours", 0.5)
    result = finished(*command, out, *flags, environment=variables)
    assert result.returncode == 0, result.stderr
    assert "job array 12 submitted; at its end, this command without --cluster writes the features" in result.stderr
    (submission,) = (path for path in calls.iterdir() if path.suffix == ".sh")
    parameters = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", submission.read_text(), re.MULTILINE))
    assert {name: parameters[name] for name in ("array", "partition", "cpus-per-task", "time")} == {
        **{"array": "0-1%2", "partition": "gpus", "cpus-per-task": "3", "time": "30"}
    }
    assert "gpus-per-node" not in parameters
    inside = {"SLURM_JOB_ID": "13", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "1", "SLURM_PROCID": "0"}
    job = {**variables, **inside, "SUBMITIT_EXECUTOR": "slurm"}
    result = finished("submitit.core._submit", out / "slurm", environment=job)  # the second one
    assert result.returncode == 0, result.stderr
    assert "shard 2 of 2 is extracted" in (out / "slurm/shard-2.log").read_text()
    assert {path.stem for path in out.glob("extracted/*.npz")} == {"-v1", "-v3", "-v5"}
    call(monkeypatch, *command, out)
    assert equal(features(out), alone)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--shard", "0/4"), "argument --shard: 0/4, expected I/N with I from 1 to N"),
        (("--shard", "5/4"), "argument --shard: 5/4, expected I/N with I from 1 to N"),
        (("--shard", "two"), "argument --shard: invalid shard value: 'two'"),
        (("--shard", "1/2", "--overwrite"), "argument --overwrite: not allowed with argument --shard"),
        (("--cluster", "slurm", "--overwrite"), "--cluster goes with neither --overwrite nor --shard"),
        (("--cluster", "slurm", "--hours", 0), "--gpus is below 0, or --hours is not above 0"),
        (("--cluster", "slurm"), "the jobs cannot be submitted"),
    ],
)
def test_flags_that_do_not_fit_are_named(run, command, tmp_path, flags, said):
    assert said in run(*command, tmp_path / "out", *flags, status=2).stderr
