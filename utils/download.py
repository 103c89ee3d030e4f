"""Small files from the web, through pooch."""

from collections.abc import Callable
from pathlib import Path

from utils.atomic import atomic_write
from utils.errors import InputError, os_error_as_input_error
from utils.packages import require_packages
from utils.progress import shows_bars

BLOCK = 1 << 16  # bytes written at a time
SECONDS = (20, 60)  # to wait for a connection, and for the next bytes
RETRIES = 1


def download(url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Download a file, with a bar on a terminal. It appears at ``path`` whole and checked, or not at all.

    Args:
        url: ``http`` or ``https``.
        path: file to write or replace; its directory is made if needed.
        check: raises ``InputError`` if the downloaded file is not the expected one.

    Raises:
        InputError: the file is not available, fails the check or cannot be written.
    """
    require_packages("pooch")
    import pooch
    from requests.exceptions import RequestException  # pooch depends on it

    pooch.get_logger().setLevel("WARNING")
    with os_error_as_input_error(path), atomic_write(path) as temporary:
        temporary.unlink(missing_ok=True)  # left by a killed process
        name = temporary.name
        source = pooch.create(path.parent, "", registry={name: None}, urls={name: url}, retry_if_failed=RETRIES)
        try:
            source.fetch(name, downloader=pooch.HTTPDownloader(shows_bars(), chunk_size=BLOCK, timeout=SECONDS))
        except RequestException as error:
            raise InputError(f"{url}: not available: {one_line(error)}") from error
        checked(url, temporary, check)


def checked(url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Run ``check`` on a downloaded file.

    Raises:
        InputError: the check fails; the message begins with the URL.
    """
    try:
        check(path)
    except InputError as error:
        raise InputError(f"{url}: not the expected file: {error}") from error


def one_line(error: Exception) -> str:
    """The message of an error of a network library, shortened to one line."""
    return " ".join(str(error).split())[:300].rstrip(".")
