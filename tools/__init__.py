"""Further commands, each ``python -m tools.NAME``."""

import signal
import sys

from utils.startup import exit_at_once, open_closed_streams, stop_signals

if sys.argv[0] == "-m":  # the tool's own imports, which take seconds, come next; run_command sets the final handlers
    open_closed_streams()
    for _number in stop_signals():
        signal.signal(_number, exit_at_once)
