"""A file that the system refuses is not called damaged: the message has its reason, and no advice to replace the file.

All refusals are real: another process, permissions, errors of the kernel. ``/proc/self/mem`` is a file whose first byte
cannot be read.
"""

import errno
import os
import platform
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest

from dataset.annotations import read_annotations
from dataset.doctor import check_folder
from dataset.doctor.report import ERROR
from dataset.features import FeatureFile
from dataset.hdf5 import stored_in
from model.checkpoint import load_checkpoint
from tests.processes import ENVIRONMENT, ROOT
from tests.system import FLOCK, PREAD64, after, fail_system_call, in_thread, obey_permissions
from utils.errors import AccessError, InputError

linux = pytest.mark.skipif(sys.platform != "linux", reason="the refusals are those of Linux")
x86_linux = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="numbers of system calls are those of x86-64"
)


@pytest.fixture
def root(data_root, tmp_path):
    return shutil.copytree(data_root, tmp_path / "data")


def errors_in(root):
    """The errors that the doctor finds, with their cures."""
    return [(finding.message, finding.cure) for finding in check_folder(root).of(ERROR)]


@pytest.fixture
def open_for_writing():
    """Let another process hold a file open for writing, as h5py does."""
    processes = []

    def hold(path):
        program = "import h5py, sys; file = h5py.File(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read()"
        process = subprocess.Popen(
            [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "open\n"

    yield hold
    for process in processes:
        process.communicate("")


def test_file_that_another_program_writes_is_in_use_and_not_damaged(run, root, open_for_writing):
    path = root / "visual_feature.h5"
    open_for_writing(path)
    reason = (
        f"{path}: cannot be read: another program has it open for writing: wait until that program ends, or stop it"
    )
    with pytest.raises(AccessError) as error:
        stored_in(path)
    assert str(error.value) == reason
    assert errors_in(root) == [(reason, "")]
    train = ("--gpu", "cpu", "--data_root", root)
    said = run("supv_main.py", *train, "--snapshot_pref", root.parent / "run", status=2).stderr
    assert f"error: {reason}" in said


@linux
@pytest.mark.parametrize("name", ["audio_feature.h5", "test_order.h5", "Annotations.txt"])
def test_file_without_permission_is_called_so(root, name):
    (root / name).chmod(0)

    def check():
        obey_permissions()
        return errors_in(root)

    reason = "permission denied: change its permissions, or ask its owner"
    assert in_thread(check) == [(f"{root / name}: cannot be read: {reason}", "")]


@x86_linux
def test_disk_without_locks_is_called_so_and_the_way_out_works(root):
    path = root / "visual_feature.h5"
    program = (
        "import sys; from pathlib import Path; from dataset.hdf5 import *; print(stored_in(Path(sys.argv[1])).shape)"
    )
    without_locks = after(f"from tests.system import fail_system_call; fail_system_call({FLOCK}, {errno.ENOLCK})")

    def result(**variables):
        return subprocess.run(
            [*without_locks, sys.executable, "-c", program, path],
            cwd=ROOT,
            env=ENVIRONMENT | variables,
            capture_output=True,
            text=True,
        )

    assert (
        result()
        .stderr.splitlines()[-1]
        .endswith(
            f"{path}: cannot be read: this disk does not support file locks: "
            "set HDF5_USE_FILE_LOCKING=FALSE in the environment to do without them"
        )
    )
    assert result(HDF5_USE_FILE_LOCKING="FALSE").stdout == "(60, 10, 2, 2, 512)\n"


@linux
@pytest.mark.parametrize("name", ["visual_feature.h5", "right_labels.h5", "train_order.h5", "Annotations.txt"])
def test_file_on_a_failing_disk_is_called_so(root, name):
    (root / name).unlink()
    (root / name).symlink_to("/proc/self/mem")
    ((message, cure),) = errors_in(root)
    assert message.startswith(f"{root / name}: cannot be read: the disk fails (input/output error): check the disk, or")
    assert cure == ""


@x86_linux
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_row_on_a_failing_disk_is_named_with_the_reason_of_the_system(root, number):
    file = FeatureFile(root / "visual_feature.h5", ndim=5, width=512)
    out = np.empty((1, *file.shape[1:]), file.dtype)

    def read():
        file.read([0], out, [0])  # the file is open
        fail_system_call(PREAD64, number)
        with pytest.raises(AccessError) as error:
            file.read([59], out, [0])
        return str(error.value)

    reason = "the disk fails (input/output error)" if number == errno.EIO else os.strerror(number)
    assert in_thread(read).startswith(f"{root / 'visual_feature.h5'}: row 59 cannot be read: {reason}")


@linux
def test_annotations_and_checkpoints_get_the_reason_of_the_system_too(tmp_path):
    for read, name in ((read_annotations, "Annotations.txt"), (load_checkpoint, "best.pth.tar")):
        (tmp_path / name).symlink_to("/proc/self/mem")
        with pytest.raises(AccessError, match=r"cannot be read: the disk fails \(input/output error\)"):
            read(tmp_path / name)


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 2])
def test_damage_that_makes_the_system_refuse_a_place_in_the_file_is_damage(tmp_path, offset):
    """A changed bit in an address asks for a place that no file can have, which the system refuses, too."""
    path = tmp_path / "audio_feature.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("avadataset", data=np.ones((3, 10, 8), "f4"))
        place, size = data.id.get_offset().to_bytes(8, "little"), data.nbytes.to_bytes(8, "little")
    contents = path.read_bytes()
    assert contents.count(place + size) == 1
    path.write_bytes(contents.replace(place + size, offset.to_bytes(8, "little") + size))
    with pytest.raises(InputError) as error:
        FeatureFile(path, ndim=3, width=8).read([0], np.empty((1, 10, 8), "f4"), [0])
    assert not isinstance(error.value, AccessError), error.value
