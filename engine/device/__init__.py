"""The device of a run, its processes, and what makes a step quick there."""
