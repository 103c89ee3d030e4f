"""Compare variants of the network, or values of any flag, over several seeds: runs them and writes their table.

Each run is an ordinary run folder, OUT/VARIANT/seed-S. Called again, the comparison skips runs that are finished and
resumes the others. Arguments after -- go to the entry script of the setting as they are.

  python -m tools.compare --setting supervised --variants all --seeds 5 --out Exps/compare/supervised -- --n_epoch 10
  python -m tools.compare --setting weakly --compare lr=1e-4,3e-4 b=16,128 --out Exps/compare/lr -- --n_epoch 10
  python -m tools.compare --table Exps/compare/supervised
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from configs import CONFIGS
from tools.arguments import cluster_options, data_root_option, positive, tool_parser
from utils.command import run_command
from utils.log import log_to_terminal
from utils.packages import require_packages
from utils.progress import Progress
from utils.wording import command_line

log = logging.getLogger(__name__)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    jobs = cluster_options("runs at a time, which share the cores and GPUs (default: 1)")
    parser = tool_parser("compare", __doc__, data_root_option("data of all runs"), jobs)
    add = parser.add_argument
    add("--setting", choices=tuple(CONFIGS), help="whose entry script runs")
    compared = parser.add_mutually_exclusive_group()
    variants = "variants to compare with the full network; all is each, A+B is two in one network"
    compared.add_argument("--variants", nargs="+", metavar="NAME", help=variants)
    values = "values of flags of the entry script to compare, each combination; the first is the reference"
    compared.add_argument("--compare", nargs="+", metavar="FLAG=VALUE,...", help=values)
    add("--seeds", type=positive, default=5, metavar="N", help="runs of each, with seeds 1 to N (default: 5)")
    add("--out", type=Path, metavar="DIR", help="folder of the runs and the tables")
    add("--table", type=Path, metavar="OUT", help="only write the tables of the runs in this folder so far")
    args = parser.parse_args(arguments)
    if args.table is None:
        for name in ("setting", "out"):
            if getattr(args, name) is None:
                parser.error(f"--{name} is missing")
        if not args.variants and not args.compare:
            parser.error("nothing to compare: give --variants or --compare")
    return args


def main() -> None:
    own, passed = _split(sys.argv[1:])
    args = parse_arguments(own)
    log_to_terminal()
    require_packages("matplotlib", "jinja2", "scipy")

    from tools.compare.local import run_all
    from tools.compare.plan import PLAN, make_plan, read_plan, value_flags, variant_flags
    from tools.compare.results import is_finished
    from tools.compare.tables import write_tables
    from tools.jobs import submit

    if args.table is not None:
        print(*write_tables(read_plan(args.table), args.table), sep="\n")
        return

    flags = variant_flags(args.variants, args.setting) if args.variants else value_flags(args.compare)
    plan = make_plan(args.setting, args.data_root, passed, args.seeds, flags)
    whole = plan.merged(read_plan(args.out), args.out) if (args.out / PLAN).exists() else plan
    whole.write(args.out)
    runs = plan.runs(args.out)
    waiting = [run for run in runs if not is_finished(run)]
    log.info("%d runs, %d of them finished", len(runs), len(runs) - len(waiting))
    if args.cluster and waiting:
        job = submit(waiting, args.out, args.jobs, args)
        log.info("job array %s submitted; tables so far: %s", job, command_line("compare", "--table", args.out))
        return

    failed = []
    progress = Progress("comparing", print_freq=1)
    with closing(run_all(waiting, args.jobs or 1)) as ended:
        for run, failure in progress.track(ended, total=len(runs), start=len(runs) - len(waiting)):
            progress.notes = f"{run.name}: {'finished' if failure is None else 'failed'}"
            if failure is not None:
                failed.append(f"{run.name} failed: {failure} ({run.log})")
                log.warning(failed[-1])
    print(*write_tables(whole, args.out), sep="\n")
    if failed:
        log.warning("%d of %d runs failed:\n%s", len(failed), len(runs), "\n".join(failed))
        raise SystemExit(1)


def _split(arguments: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """The arguments of this command, and those after ``--``."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:place], arguments[place + 1 :]


if __name__ == "__main__":
    run_command(main)
