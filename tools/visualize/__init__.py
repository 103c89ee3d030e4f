"""The package of ``python -m tools.visualize``."""
