"""Drawing that several tools share."""
