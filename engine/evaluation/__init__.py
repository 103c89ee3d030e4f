"""Scores a network on a split: its decisions, their measures, the threshold, and ``predictions.csv``."""

from engine.evaluation.evaluate import Evaluation, evaluate, evaluate_batch, result_line
