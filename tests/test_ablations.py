"""docs/ABLATIONS.md: its list of variants is the code's, and its tables are those of the measured runs beside it.

``python -m tests.test_ablations`` prints what the page must hold.
"""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from configs.variants import VARIANTS
from engine.evaluation.measures import Measures
from tests.processes import ROOT
from tools.compare.plan import Run
from tools.compare.results import Estimate, Result, differences, summary

PAGE = ROOT / "docs" / "ABLATIONS.md"
MEASURED = sorted((ROOT / "docs" / "ablations").glob("*.csv"))
AVE_SIZE = ROOT / "docs" / "ablations" / "ave_size.csv"  # one run of each network
COLUMNS = {"accuracy": 1, "auc": 2, "background_recall": 1, "partial_accuracy": 1}  # with their digits
FIRST_COLUMN = {"thresholds_ave_size": "threshold from", "thresholds_small": "threshold from"}
LEARNED = 10  # percent of event seconds right, below which a run has learned no event


def table(*rows: list[str]) -> str:
    """Rows of text, the titles first, as a Markdown table."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def variants_table() -> str:
    """The variants, as ``configs.variants`` describes them."""
    rows = ([f"`{name}`", each.part, each.sentence, " ".join(each.settings)] for name, each in VARIANTS.items())
    return table(["name", "part", "change", "setting"], *rows)


def read_runs(path: Path) -> dict[str, list[Result]]:
    """The runs of a ``table.csv`` of tools.compare by condition, in its order."""
    runs = defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            measures = Measures(*(float(row.get(f"test_{name}") or "nan") for name in Measures._fields))
            run = Run(row["condition"], int(row["seed"]), Path(), (), int(row["of_epochs"]))
            result = Result(run, int(row["epochs"]), measures=measures)
            assert result.complete, f"{path}: {run.name} is not complete"
            runs[run.condition].append(result)
    return dict(runs)


def cell(estimate: Estimate, digits: int, sign: str = "") -> str:
    return f"{estimate.mean:{sign}.{digits}f} ± {estimate.half_width:.{digits}f}"


def comparison_table(path: Path) -> str:
    """The means over seeds, and under each the difference from the first condition, paired by seed."""
    runs = read_runs(path)
    reference = next(iter(runs.values()))
    titles = ["accuracy, %", "AUC", "background seconds right, %", "partial videos, %"]
    first = FIRST_COLUMN.get(path.stem, "network")
    rows = [[first, *titles, "accuracy: difference", "AUC: difference", "partial videos: difference"]]
    for name, results in runs.items():
        means = summary(results)
        row = [
            name if path.stem in FIRST_COLUMN else f"`{name}`",
            *(cell(means[figure], digits) for figure, digits in COLUMNS.items()),
        ]
        gaps = differences(results, reference)
        gaps = [cell(gaps[figure], COLUMNS[figure], "+") for figure in ("accuracy", "auc", "partial_accuracy")]
        rows.append([*row, *([""] * 3 if results is reference else gaps)])
    return table(*rows)


def learning_table(path: Path) -> str:
    """How many runs of each condition learn no event, and the means of the others."""
    rows = [["flags", "runs", "learn no event", "accuracy of the others, %", "AUC of the others"]]
    for name, results in read_runs(path).items():
        learned = [each for each in results if each.measures.event_recall >= LEARNED]
        means = summary(learned)
        cells = [cell(means["accuracy"], 1), cell(means["auc"], 2)] if len(learned) > 1 else ["", ""]
        flags = " ".join(f"--{flag.replace('=', ' ')}" for flag in name.split(","))
        rows.append([f"`{flags}`", str(len(results)), str(len(results) - len(learned)), *cells])
    return table(*rows)


def single_run_table(path: Path) -> str:
    """The measures of one run of each network, the accuracy with its interval over the videos."""
    rows = [["network", "accuracy, % (95 % interval)", "AUC", "background seconds right, %", "partial videos, %"]]
    for name, (result,) in read_runs(path).items():
        measures = result.measures
        accuracy = f"{measures.accuracy:.1f} ({measures.accuracy_low:.1f} to {measures.accuracy_high:.1f})"
        others = [f"{measures.auc:.2f}", f"{measures.background_recall:.1f}", f"{measures.partial_accuracy:.1f}"]
        rows.append([name, accuracy, *others])
    return table(*rows)


def expected_table(path: Path) -> str:
    if path == AVE_SIZE:
        return single_run_table(path)
    return learning_table(path) if "warmup" in path.read_text(encoding="utf-8") else comparison_table(path)


def test_page_lists_every_variant():
    assert variants_table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_tables_of_the_page_are_those_of_the_measured_runs(path):
    assert expected_table(path) in PAGE.read_text(encoding="utf-8")


def test_every_condition_is_measured_with_at_least_five_seeds():
    comparisons = [path for path in MEASURED if path != AVE_SIZE]
    assert comparisons
    for path in comparisons:
        assert min(map(len, read_runs(path).values())) >= 5


if __name__ == "__main__":
    print(variants_table())
    for measured in MEASURED:
        print(f"\n{measured.name}\n\n{expected_table(measured)}")
