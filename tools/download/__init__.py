"""The package of ``python -m tools.download``."""
