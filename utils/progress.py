"""Progress of long work: a bar on a terminal, plain lines in a pipe."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
Item = TypeVar("Item")


def shows_bars() -> bool:
    """Whether standard error is a terminal, and this is the main process: one bar is enough."""
    return sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"


class Progress:
    """A bar on standard error if it is a terminal; otherwise a log line every ``print_freq`` items.

    Displays are ``min_seconds`` apart at least, the last item's aside.
    """

    def __init__(self, title: str, print_freq: int, min_seconds: float = 0) -> None:
        self.title, self.print_freq, self.min_seconds = title, print_freq, min_seconds
        self.terminal = shows_bars()
        self.notes = ""

    def track(self, items: Iterable[Item], total: int, start: int = 0) -> Iterator[Item]:
        """Yield the items, the first of which is number ``start``, and show the progress.

        After each item, ``due`` says whether the next display takes new ``notes``.
        """
        began = displayed = time.monotonic()
        with tqdm(
            total=total,
            initial=start,
            desc=self.title,
            bar_format="{desc} {n_fmt}/{total_fmt} |{bar:12}| ETA {remaining}{postfix}",
            ncols=shutil.get_terminal_size().columns,  # 80 if the terminal does not tell
            disable=not self.terminal,
            leave=False,
        ) as bar:
            for done, item in enumerate(items, start=start + 1):
                waited = time.monotonic() - displayed >= self.min_seconds
                self.due = done % self.print_freq == 0 and (waited or done == total)
                yield item
                bar.update()
                if self.due:
                    displayed = time.monotonic()
                    bar.set_postfix_str(self.notes, refresh=False)
                    remaining = (time.monotonic() - began) / (done - start) * max(0, total - done)
                    parts = (self.title, f"[{done}/{total}]", self.notes, f"ETA {tqdm.format_interval(remaining)}")
                    log.log(logging.DEBUG if self.terminal else logging.INFO, " ".join(filter(None, parts)))
