"""Drawing shared by several tools."""

import logging

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # or it reports on its cache of fonts
