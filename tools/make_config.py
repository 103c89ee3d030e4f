"""Make a config for a data set of one's own: its events, feature widths and segments, other values from the defaults.

The default config is configs/main.json; with --setting weakly, configs/weak.json.
"""

import json
import math
import sys
from pathlib import Path

from configs import CONFIGS, Config, load_config
from dataset.layout import FEATURES
from dataset.size import Size, size_of
from dataset.sources import require_files
from tools.arguments import data_root_option, tool_parser
from utils.atomic import atomic_write
from utils.command import run_command
from utils.errors import InputError, os_error_as_input_error


def fitted(config: Config, size: Size, source: str) -> Config:
    """The config with the sizes of a data set.

    The number of heads is reduced to a divisor of all widths, and that of a video's best segments to its length.
    """
    widths = math.gcd(size.visual_dim, size.audio_dim, config.model.d_model)
    values = {
        "num_events": size.events,
        "visual_dim": size.visual_dim,
        "audio_dim": size.audio_dim,
        "num_heads": max(heads for heads in range(1, config.model.num_heads + 1) if widths % heads == 0),
        "top_segments": min(config.model.top_segments, size.segments),
    }
    return config.with_values(values, source)


def main() -> None:
    parser = tool_parser("make_config", __doc__, data_root_option("the data set"))
    add = parser.add_argument
    add("--out", type=Path, required=True, metavar="FILE", help="config to write, such as configs/mine.json")
    add("--setting", choices=tuple(CONFIGS), default="supervised", help="to train in (default: supervised)")
    add("--overwrite", action="store_true", help="replace the file if it exists")
    args = parser.parse_args()
    require_files(args.data_root, FEATURES)
    size = size_of(args.data_root)
    config = fitted(load_config(CONFIGS[args.setting]), size, str(args.data_root))
    if args.out.exists() and not args.overwrite:
        raise InputError(f"{args.out}: exists: name another file, or give --overwrite")
    with os_error_as_input_error(args.out):
        args.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(args.out) as temporary:
            temporary.write_text(json.dumps(config.as_dict(), indent=2) + "\n", encoding="utf-8")
    print(
        f"{args.out}: {size.events} events, features of widths {size.visual_dim} and {size.audio_dim}, "
        f"{config.model.num_heads} attention heads, videos of {size.segments} segments, of which the best "
        f"{config.model.top_segments} count",
        file=sys.stderr,
    )


if __name__ == "__main__":
    run_command(main)
