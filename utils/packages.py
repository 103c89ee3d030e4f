"""Packages that only some tools need."""

from importlib.util import find_spec

from utils.errors import InputError


def require_packages(*names: str, file: str = "requirements-tools.txt") -> None:
    """Check that packages are installed; an ``InputError`` names those that are not, and what to install."""
    if missing := [name for name in names if find_spec(name) is None]:
        raise InputError(f"needs {' and '.join(missing)}, not installed here: python -m pip install -r {file}")
