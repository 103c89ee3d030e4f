"""The package of ``python -m tools.benchmark``."""
