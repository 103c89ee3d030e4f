"""The package of ``python -m tools.report``."""
