"""A run: training, evaluation, checkpoints and the files they leave."""
