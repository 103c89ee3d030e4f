"""Files are written whole or not at all."""

import pytest

from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error


def test_file_is_replaced_when_all_is_written(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_file_stays_as_it_was_when_writing_fails(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail():
        with atomic_write(path) as temporary:
            temporary.write_text("ne")
            raise error

    with pytest.raises(error):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("existed", [True, False])
def test_failure_says_that_what_was_there_is_unharmed_where_something_was(tmp_path, existed):
    path = tmp_path / "file"
    if existed:
        path.write_text("old")

    def fail():
        with os_error_as_input_error(path), atomic_write(path):
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError) as error:
        fail()
    sentence = f"{path}: cannot be written: No space left on device"
    assert str(error.value) == sentence + (". Its previous contents are unharmed" if existed else "")
