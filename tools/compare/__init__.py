"""The package of ``python -m tools.compare``."""
