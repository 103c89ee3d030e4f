"""Fully supervised MAGAN: train it on labels per segment, or evaluate a checkpoint."""

from utils.command import run_command
from utils.startup import exit_at_once, handling_stop_signals


def main() -> None:
    with handling_stop_signals(exit_at_once):
        from configs import parse_options
        from engine.experiment import Experiment

    options = parse_options(__doc__, default_config="configs/main.json", snapshot_pref="./Exps/Supv/run/")
    experiment = Experiment(options, "supervised")
    if options.evaluate:
        experiment.evaluate()
    else:
        experiment.train()


if __name__ == "__main__":
    run_command(main)
