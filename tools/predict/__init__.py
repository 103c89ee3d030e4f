"""The package of ``python -m tools.predict``."""
