"""The check of a data folder expects AVE's widths."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_root(wide_data_root: Path) -> Path:
    """A synthetic AVE folder of 60 videos with 2 x 2 maps. Read it, do not change it."""
    return wide_data_root
