"""Weakly-supervised MAGAN: train it on labels per video, or evaluate a checkpoint on labels per segment."""

from engine.experiment import run
from utils.command import run_command


def main() -> None:
    run(__doc__, "weakly", snapshot_pref="./Exps/WeaklySupv/run/")


if __name__ == "__main__":
    run_command(main)
