"""Checkpoint files: whole or refused, and never run."""

import random
import resource
import zipfile

import pytest
import torch

from engine.checkpoint import save_checkpoint
from model.checkpoint import load_checkpoint
from utils.errors import InputError


class Code:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


@pytest.fixture
def best(trained):
    return trained("supervised") / "best.pth.tar"


def test_code_in_a_file_is_refused_and_does_not_run(tmp_path):
    trace, path = tmp_path / "trace", tmp_path / "evil.pth.tar"
    torch.save({"format": "magan", "version": 1, "weights": Code(trace)}, path)
    with pytest.raises(InputError, match="holds code"):
        load_checkpoint(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the file would have run it
    assert trace.exists()


def test_changed_bit_is_refused_or_changes_nothing(best, tmp_path):
    """One in the values is refused; the archive's own entries have dates and padding that nothing reads."""
    data, expected = best.read_bytes(), load_checkpoint(best)
    damaged, chosen, refused = tmp_path / "damaged.pth.tar", random.Random(0), 0
    places = [chosen.randrange(len(data)) for _ in range(100)]
    for place in places:
        flipped = bytearray(data)
        flipped[place] ^= 1 << chosen.randrange(8)
        damaged.write_bytes(flipped)
        try:
            checkpoint = load_checkpoint(damaged)
        except InputError:
            refused += 1
            continue
        assert all(torch.equal(weight, expected.weights[name]) for name, weight in checkpoint.weights.items())
        assert (checkpoint.config, checkpoint.scores) == (expected.config, expected.scores)
    assert refused > 80


def test_any_truncation_is_refused(best, tmp_path):
    data = best.read_bytes()
    damaged = tmp_path / "damaged.pth.tar"
    for size in (0, 1, 4, 1000, len(data) // 2, len(data) - 100, len(data) - 1):
        damaged.write_bytes(data[:size])
        with pytest.raises(InputError, match=r"damaged|no checkpoint|neither"):
            load_checkpoint(damaged)


def test_checkpoint_is_an_ordinary_torch_file(best):
    assert torch.load(best, weights_only=True)["format"] == "magan"
    assert zipfile.ZipFile(best).testzip() is None


@pytest.mark.parametrize("missing", [1, 5_000, 100_000])
def test_disk_that_is_full_near_the_end_leaves_the_earlier_file(best, tmp_path, missing):
    """The end of the archive has no room, or its list of records, or a record."""
    path, contents = tmp_path / "best.pth.tar", torch.load(best, weights_only=True)
    save_checkpoint(path, contents)
    earlier, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(earlier) - missing, limits[1]))
    try:
        with pytest.raises(InputError, match=r"cannot be written: File too large\. Its .* unharmed$"):
            save_checkpoint(path, contents)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == earlier
    assert list(tmp_path.iterdir()) == [path]


def test_newer_format_is_named(best, tmp_path, monkeypatch):
    from model import checkpoint

    monkeypatch.setattr(checkpoint, "VERSION", 0)  # an older program
    with pytest.raises(InputError, match="has format version 2, this program reads versions up to 0"):
        load_checkpoint(best)


@pytest.mark.parametrize(
    "contents", [[1, 2], {"state_dict": {}}, {}, torch.zeros(3), {"module.conv.weight": torch.zeros(1)}]
)
def test_other_files_are_named_for_what_they_are_not(tmp_path, contents):
    path = tmp_path / "other.pth.tar"
    torch.save(contents, path)
    with pytest.raises(InputError, match="neither a checkpoint of this program nor one that the authors published"):
        load_checkpoint(path)
