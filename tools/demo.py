"""Demonstrate the project on synthetic data: make data, train and evaluate both settings, write a report of each."""

import argparse
import csv
import subprocess
import sys
from pathlib import Path

import torch

from configs import ROOT, SETTING_NAMES
from dataset import AVEFolder
from engine.evaluation.measures import Measures, from_columns
from engine.evaluation.summary import measures_text
from engine.run_folder import BEST, METRICS
from model.network import NetworkConfig
from utils.command import run_command
from utils.errors import InputError
from utils.packages import require_packages

# Sized so that both settings learn the data within a few minutes on two cores. The weakly-supervised setting needs more
# updates, hence smaller batches.
DATA_FLAGS = ("--videos", 280, "--signal", 2)
SETTINGS = {
    "supervised": ("supv_main.py", ("--n_epoch", 4, "--b", 8, "--lr", 3e-4)),
    "weakly": ("weakly_main.py", ("--n_epoch", 5, "--b", 4, "--lr", 1e-4)),
}


def run(*command: object, capture: bool = False) -> str | None:
    """Run a command of the project; with ``capture``, return its standard output."""
    command = [str(part) for part in command]
    print("$ python", *command, file=sys.stderr)
    result = subprocess.run(
        [sys.executable, *command], stdout=subprocess.PIPE if capture else None, text=True, cwd=ROOT
    )
    if result.returncode in (130, 143):  # a signal, which the command has reported
        raise SystemExit(result.returncode)
    if result.returncode:
        raise InputError(f"python {' '.join(command)} exited with {result.returncode}")
    return result.stdout


def measures_at_best_val_epoch(path: Path) -> Measures:
    """The measures on the test split from the ``metrics.csv`` of a run."""
    with open(path, newline="", encoding="utf-8") as file:
        return from_columns("test", max(csv.DictReader(file), key=lambda row: float(row["val_accuracy"])))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, default=Path("data/demo"), help="synthetic data (default: data/demo)")
    parser.add_argument("--runs", type=Path, default=Path("Exps/demo"), help="folder of both runs (default: Exps/demo)")
    args = parser.parse_args()
    require_packages("matplotlib", "jinja2")  # of the reports; checked before minutes of training

    if not (ROOT / args.data / "truth.h5").exists():
        run("-m", "tools.make_data", "--out", args.data, *DATA_FLAGS)
    measures, reports = {}, {}
    for setting, (script, flags) in SETTINGS.items():
        folder = args.runs / setting
        common = ("--gpu", 0, "--data_root", args.data)
        run(script, *common, *flags, "--select", "val", "--snapshot_pref", folder, "--overwrite")
        run(script, *common, "--evaluate", "--resume", folder / BEST)
        measures[SETTING_NAMES[setting]] = measures_at_best_val_epoch(ROOT / folder / METRICS)
        reports[setting] = run("-m", "tools.report", folder, *common, capture=True).strip()

    test = AVEFolder(ROOT / args.data, NetworkConfig(), torch.float32).split("test")
    print("\nTest split of the synthetic data, at the epoch that is best on val:")
    print(measures_text(measures, test.labels.argmax(dim=-1).numpy(), test.labels.shape[-1] - 1))
    print(f"Data: {args.data}")
    print(f"Runs: {args.runs}/supervised and {args.runs}/weakly")
    print("Reports, to open in a browser:")
    for setting, report in reports.items():
        print(f"  {setting:11} {report}")


if __name__ == "__main__":
    run_command(main)
