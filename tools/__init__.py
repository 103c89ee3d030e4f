"""Further commands, each ``python -m tools.NAME``."""
