"""Fully supervised MAGAN: train it on labels per segment, or evaluate a checkpoint."""

from engine.experiment import run
from utils.command import run_command


def main() -> None:
    run(__doc__, "supervised", snapshot_pref="./Exps/Supv/run/")


if __name__ == "__main__":
    run_command(main)
