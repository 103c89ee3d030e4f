"""``tools.pack_features --from_folder``: the features of single videos, one NumPy file each, become a data folder."""

import h5py
import numpy as np
import pytest

from tests.documented import call, commands
from utils.errors import InputError

LINES = ["Bark&b-2&good&0&2\n", "Horn&-a1&good&1&3\n", "Horn&b-2&good&2&4\n", "Bark&c3&good&0&4\n"]
IDS = ["b-2", "-a1", "b-2", "c3"]


@pytest.fixture
def arrays(tmp_path):
    """Folders of a visual (4, 3, 2, 20) and an audio (4, 6) file per video, and the arrays by video id."""
    random = np.random.default_rng(0)
    for name in ("visual", "audio"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine.txt").write_text("".join(LINES))
    made = {}
    for video_id in dict.fromkeys(IDS):
        made[video_id] = random.random((4, 3, 2, 20), np.float32), random.random((4, 6), np.float32)
    return tmp_path, made


def save(arrays, form=".npy", channels_first=False):
    folder, made = arrays
    for video_id, (visual, audio) in made.items():
        if channels_first:
            visual, audio = np.moveaxis(visual, -1, 1), audio.T
        for name, array in (("visual", visual), ("audio", audio)):
            path = folder / name / f"{video_id}{form}"
            np.save(path, array) if form == ".npy" else np.savez_compressed(path, features=array)


def pack(monkeypatch, folder, *more):
    flags = ("--from_folder", folder / "visual", folder / "audio", "--annotations", folder / "mine.txt", *more)
    call(monkeypatch, "tools.pack_features", *flags, "--out", folder / "out")
    found = []
    for name in ("visual", "audio"):
        with h5py.File(folder / "out" / f"{name}_feature.h5") as file:
            found.append(file["avadataset"][()])
    return found


@pytest.mark.parametrize("form", [".npy", ".npz"])
@pytest.mark.parametrize("channels_first", [False, True])
def test_rows_are_those_of_the_lines_whatever_the_order_of_axes(monkeypatch, arrays, form, channels_first):
    save(arrays, form, channels_first)
    folder, made = arrays
    for found, place in zip(pack(monkeypatch, folder, "--dtype", "float32"), (0, 1), strict=True):
        assert np.array_equal(found, np.stack([made[video_id][place] for video_id in IDS]))
    assert (folder / "out/Annotations.txt").read_text() == "".join(LINES)


def test_commands_of_the_docs_make_a_complete_folder(monkeypatch, capsys, tmp_path):
    """Word for word; the arrays are those of a network of one's own."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for name, shape in (("visual", (10, 512, 2, 2)), ("audio", (10, 128))):
        (tmp_path / name).mkdir()
        for number in range(6):
            np.save(tmp_path / name / f"-clip{number}.npy", random.random(shape, np.float32))
    lines = [f"{('Bark', 'Horn')[number % 2]}&-clip{number}&good&0&4\n" for number in range(6)]
    (tmp_path / "mine.txt").write_text("".join(lines))
    for split, rows in {"train": lines[:2], "val": lines[2:4], "test": lines[4:]}.items():
        (tmp_path / f"{split}.txt").write_text("".join(rows))
    for command in commands("DATA.md", "Features in files of single videos"):
        assert call(monkeypatch, *command) == 0
    assert "supervised: can run\nweakly: can run\n" in capsys.readouterr().out


def test_files_that_are_missing_or_odd_are_named_and_nothing_is_written(monkeypatch, arrays):
    save(arrays)
    folder, made = arrays
    path = folder / "audio/c3.npy"
    path.unlink()
    with pytest.raises(InputError, match=r"audio: 1 video has no \.npy or \.npz file of the video's id: c3"):
        pack(monkeypatch, folder)
    (folder / "visual/-a1.npy").unlink()
    for contents, said in (
        (np.ones((3, 6), np.float32), r"c3\.npy: shape \(3, 6\), expected \(4, d\)"),
        (np.ones((4, 5), np.float32), r"audio_feature\.h5: row 3 \(c3\) has shape \(4, 5\), not \(4, 6\)"),
        (np.ones((4, 6), int), r"c3\.npy: holds \(4, 6\) int64, expected one array of floating-point numbers"),
        (np.array([{}]), r"c3\.npy: cannot be read as an array"),
        (
            np.full((4, 6), 1e6, np.float32),
            r"audio_feature\.h5: row 3 \(c3\) has values that are not finite in float16",
        ),
    ):
        np.save(path, contents)
        np.savez(folder / "visual/-a1.npz", made["-a1"][0])
        with pytest.raises(InputError, match=said):
            pack(monkeypatch, folder)
        assert list((folder / "out").iterdir()) == []
    np.save(path, made["c3"][1])
    np.savez(folder / "visual/-a1.npz", made["-a1"][0], made["-a1"][0])
    with pytest.raises(InputError, match=r"-a1\.npz: holds \(4, 3, 2, 20\) float32, \(4, 3, 2, 20\) float32, expected"):
        pack(monkeypatch, folder)
    np.savez(folder / "visual/b-2.npz", made["-a1"][0])
    (folder / "visual/b-2.npy").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"b-2\.npy: cannot be read as an array"):
        pack(monkeypatch, folder)


@pytest.mark.parametrize("shapes", [((4, 20), (4, 6)), ((4, 3, 2, 20), (5, 6)), ((4, 3, 2, 20), (4, 1, 6))])
def test_shape_of_the_first_file_is_that_of_maps_or_of_sound(monkeypatch, arrays, shapes):
    folder, made = arrays
    made["b-2"] = [np.ones(shape, np.float32) for shape in shapes]
    save(arrays)
    with pytest.raises(InputError, match=r"b-2\.npy: shape .*, expected \((t, h, w, c|4, d)\)"):
        pack(monkeypatch, folder)


def test_features_that_are_there_stay(monkeypatch, arrays):
    save(arrays)
    before = pack(monkeypatch, arrays[0])
    with pytest.raises(InputError, match="already holds"):
        pack(monkeypatch, arrays[0])
    assert before[0].dtype == np.float16
