"""How a step is computed on a device: which one, in how many processes, and what is quicker there."""
