"""Choose the event threshold of a checkpoint anew, and keep it in the file.

val: the threshold with the highest accuracy on val, by its labels per segment. weak: by the labels of the training
videos alone, halfway between their seconds and background that is pasted into them.
"""

from engine.evaluation.summary import measures_text
from engine.experiment import evaluation_of
from tools.arguments import checkpoint_of, evaluation_options, tool_parser
from utils.command import run_command
from utils.errors import InputError
from utils.log import log_to_terminal


def main() -> None:
    parser = tool_parser("calibrate", __doc__, evaluation_options(split=False))
    parser.add_argument("--on", choices=("val", "weak"), required=True, help="the labels that choose it")
    args = parser.parse_args()
    log_to_terminal()
    experiment = evaluation_of(checkpoint_of(args.source), args.data_root, args.gpu, "test")
    if experiment.checkpoint.published:
        raise InputError(f"{args.source}: a published checkpoint holds no threshold to replace")
    before, test = experiment.threshold, experiment.calibrate(args.on)
    columns = {f"threshold {before:.4f}": test._replace(threshold=before).measures()}
    columns[f"threshold {test.threshold:.4f}"] = test.measures()
    print(f"test split, {measures_text(columns, test.truth.numpy(), test.num_events)}")


if __name__ == "__main__":
    run_command(main)
