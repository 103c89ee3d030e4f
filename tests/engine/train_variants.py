"""Train each variant of a setting, one after the other, in the processes that ``torchrun`` starts.

    torchrun --nproc_per_node 2 -m tests.engine.train_variants SCRIPT OUT PORTS ARGUMENT ...

The processes meet once for each variant. PORTS are as many free ones, joined by commas: what the processes wrote to
the store at one meeting would confuse them at the next.
"""

import importlib
import os
import sys
from pathlib import Path

from configs.variants import variants_of

script, out, ports, *arguments = sys.argv[1:]
program = importlib.import_module(script.removesuffix(".py"))
os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"
names = variants_of("supervised" if script == "supv_main.py" else "weakly")
for name, port in zip(names, ports.split(","), strict=True):
    os.environ["MASTER_PORT"] = port
    sys.argv = [script, *arguments, "--variant", name, "--snapshot_pref", str(Path(out) / name)]
    program.main()
