"""Files from the network: resumed where they broke off, and in place only when they are whole and of use.

The transfer itself is gdown's, which finds the way through Google Drive's confirmation pages, takes any other address
too, asks the server for what is missing (HTTP Range) after a break, and counts against Content-Length.
"""

import hashlib
import logging
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tqdm import tqdm

from utils.atomic import SUFFIX, atomic_write
from utils.errors import InputError, os_error_as_input_error
from utils.packages import require_packages

log = logging.getLogger(__name__)

GDOWN = (6, 5)  # the first version whose transfers go on after a break and can be hashed as they arrive
_BLOCK = 1 << 22  # bytes hashed at a time


class Patience(NamedTuple):
    """How long to wait for a server."""

    connect_seconds: float = 20
    read_seconds: float = 60  # between bytes
    retries: int = 5  # for a file
    wait_seconds: float = 2  # before the first retry of a server that says it is busy; then twice as long, and so on


class UnreachableError(InputError):
    """Nobody answers at an address: other files from there can be left for later."""


class TransferProgress:
    """Bytes that have arrived: a bar on a terminal, a line for every tenth of the file elsewhere."""

    def __init__(self, path: Path) -> None:
        self.name, self.folder = path.name, path.parent
        self.bar = tqdm(desc=path.name, unit="B", unit_scale=True, leave=False, disable=not sys.stderr.isatty())
        self.shown: float | None = None  # part of the file that the last line told of
        self.total: int | None = None  # as the server says

    def __call__(self, arrived: int, total: int | None) -> None:
        """Show that ``arrived`` of ``total`` bytes are there.

        Raises:
            InputError: the rest does not fit on the disk.
        """
        if self.total is None and total:
            self.total = self.bar.total = total
            free = shutil.disk_usage(self.folder).free
            if total - arrived > free:
                raise InputError(
                    f"{self.folder}: {self.name} needs {total - arrived:,} bytes more, {free:,} are free on the disk: "
                    "make room, or name another folder"
                )
        self.bar.update(arrived - self.bar.n)
        part = arrived / total if total else 0
        if self.shown is None or part - self.shown >= 0.1:
            of = f" of {total / 1e6:.1f} MB ({part:.0%})" if total else " MB"
            log.log(logging.DEBUG if not self.bar.disable else logging.INFO, "%s: %.1f%s", self.name, arrived / 1e6, of)
            self.shown = part

    def __enter__(self) -> "TransferProgress":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()


def fetch(url: str, path: Path, check: Callable[[Path], None], patience: Patience = Patience()) -> str:  # noqa: B008
    """Get a file, whole and checked or not at all; what arrived before a break is kept beside it for the next try.

    Args:
        url: of the file, or of its page on Google Drive.
        path: where to put it; its folder exists.
        check: looks at what arrived, and raises ``InputError`` if it is not what is wanted.
        patience: with the server.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        InputError: it cannot be had, or cannot be used; ``path`` is as it was.
        UnreachableError: nobody answers there.
    """
    gdown = _import_gdown()
    with os_error_as_input_error(path), atomic_write(path) as temporary:
        temporary.unlink(missing_ok=True)  # gdown would take it for the whole file
        keep_largest_part(temporary)
        try:
            digest, total = _transfer(gdown, url, temporary, patience)
        except (KeyboardInterrupt, SystemExit):
            log.info("%s: what has arrived is kept, the same command goes on with it", path)
            raise
        size = temporary.stat().st_size
        if total is not None and size != total:
            raise InputError(f"{url}: {size:,} bytes arrived, {total:,} were announced")
        try:
            check(temporary)
        except InputError as error:
            raise InputError(f"{url}: what arrived is of no use: {error}") from error
    return digest


def parts_of(path: Path) -> list[Path]:
    """What gdown keeps of broken transfers to ``path``, the largest first."""
    return sorted(path.parent.glob(f"{path.name}????????.part"), key=lambda part: -part.stat().st_size)


def keep_largest_part(path: Path) -> None:
    """Leave at most one file that a transfer to ``path`` can go on with; gdown refuses to choose."""
    for part in parts_of(path)[1:]:
        part.unlink()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits, with a bar on a terminal."""
    digest = hashlib.sha256()
    with (
        open(path, "rb") as file,
        tqdm(
            desc=f"reading {path.name}",
            total=path.stat().st_size,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        while block := file.read(_BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def _transfer(gdown: ModuleType, url: str, temporary: Path, patience: Patience) -> tuple[str, int | None]:
    """Let gdown get the file, from the start where the server cannot go on; gives its SHA-256 and announced size."""
    from requests.exceptions import ConnectionError as NoConnection  # gdown brings it
    from requests.exceptions import HTTPError, RequestException

    for attempt in range(patience.retries + 1):
        hasher = hashlib.sha256()
        final = temporary.with_name(temporary.name.removesuffix(SUFFIX))
        try:
            with TransferProgress(final) as progress:
                gdown.download(
                    url,
                    output=str(temporary),
                    quiet=True,
                    use_cookies=False,
                    resume=True,
                    progress=progress,
                    hasher=hasher,
                    timeout=(patience.connect_seconds, patience.read_seconds),
                    retries=patience.retries,
                )
            return hasher.hexdigest(), progress.total
        except InputError:
            raise
        except HTTPError as error:
            status = error.response.status_code
            if (status != 429 and status < 500) or attempt == patience.retries:
                raise InputError(f"{url}: the server answers {status} {error.response.reason}") from error
            time.sleep(min(patience.wait_seconds * 2**attempt, 60))
        except (gdown.exceptions.DownloadError, RequestException) as error:
            if isinstance(error.__cause__ or error, NoConnection) and not parts_of(temporary):
                raise UnreachableError(f"{url}: nobody answers: {_short(error)}") from error
            if "did not honor the requested byte range" not in str(error) or attempt == patience.retries:
                raise InputError(f"{url}: cannot be had: {_short(error)}{_kept(temporary)}") from error
            for part in parts_of(temporary):
                part.unlink()
        except OSError:
            raise  # of the disk
        except Exception as error:  # a page of Google Drive that gdown does not know
            raise InputError(f"{url}: cannot be had: gdown failed with {error!r:.200}{_kept(temporary)}") from error
    raise AssertionError("the last attempt returns or raises")


def _kept(temporary: Path) -> str:
    if not (parts := parts_of(temporary)):
        return ""
    return f". {parts[0].stat().st_size:,} bytes are kept, the same command goes on with them"


def _short(error: Exception) -> str:
    """The message on one line, without what gdown advises its own users."""
    return " ".join(str(error).split("\nThe received bytes")[0].split())[:300].rstrip(".")


def _import_gdown() -> ModuleType:
    require_packages("gdown")
    import gdown

    if tuple(map(int, gdown.__version__.split(".")[:2])) < GDOWN:
        raise InputError(
            f"needs gdown {'.'.join(map(str, GDOWN))} or newer, {gdown.__version__} is installed: "
            "python -m pip install -r requirements-tools.txt"
        )
    return gdown
