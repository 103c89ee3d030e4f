"""Files from the web, through gdown, which resumes transfers and knows the pages of Google Drive."""

import logging
from collections.abc import Callable
from pathlib import Path

from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error
from utils.packages import require_packages
from utils.progress import shows_bars

log = logging.getLogger(__name__)

SECONDS = (20, 60)  # to wait for a connection, and for the next bytes
RETRIES = 3  # after a lost connection


def download(url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Download a file. It appears at ``path`` whole and checked, or not at all; an interrupted transfer is resumed.

    Progress is a bar on a terminal, and otherwise a log line for each tenth of a file.

    Args:
        url: ``http`` or ``https``.
        path: file to write or replace; its directory is made if needed.
        check: raises ``InputError`` if the downloaded file is not the expected one.

    Raises:
        InputError: the file is not available, fails the check or cannot be written.
    """
    require_packages("gdown")
    import gdown
    from requests.exceptions import RequestException  # gdown depends on it

    with os_error_as_input_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    with os_error_as_input_error(path), atomic_write(path) as temporary:
        temporary.unlink(missing_ok=True)  # gdown would take it for the whole file
        try:
            gdown.download(
                url,
                str(temporary),
                quiet=not shows_bars(),
                use_cookies=False,
                resume=True,
                log_messages={"start": "", "output": ""},
                progress=None if shows_bars() else TenthsInLog(path.name),
                timeout=SECONDS,
                retries=RETRIES,
            )
        except (gdown.exceptions.DownloadError, RequestException) as error:
            reason = " ".join(str(error).split(".\nThe received bytes")[0].split())[:300].rstrip(".")
            kept = "".join(f"; {part} is kept to resume from" for part in path.parent.glob(f"{temporary.name}*.part"))
            raise InputError(f"{url}: not available: {reason}{kept}") from error
        except OSError:
            raise  # of the disk
        except Exception as error:  # a page of Google Drive that gdown does not know
            raise InputError(f"{url}: not available: gdown failed with {error!r:.200}") from error
        try:
            check(temporary)
        except InputError as error:
            raise InputError(f"{url}: not the expected file: {error}") from error


class TenthsInLog:
    """Progress of a transfer without a terminal: a line in the log for each tenth of the file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.next = 0.0  # part of the file that the next line waits for

    def __call__(self, arrived: int, total: int | None) -> None:
        part = arrived / total if total else 0.0
        if part >= self.next:
            log.info("%s: %.1f MB (%.0f %%)", self.name, arrived / 1e6, 100 * part)
            self.next = part + 0.1
