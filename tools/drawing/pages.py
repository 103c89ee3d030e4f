"""Pages that open from disk: templates, and pictures inside the page."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def templates(folder: Path) -> Environment:
    """The templates of a folder; in those of HTML, texts of the user's data are escaped."""
    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=lambda name: ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def data_url(contents: bytes, kind: str) -> str:
    """A file inside a page; ``kind`` is its media type, such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(contents).decode()}"
