"""The record of an extraction, ``extraction.json`` in the data folder: how its features were made."""

import json
from pathlib import Path

from dataset.layout import EXTRACTION
from utils.errors import AccessError, InputError, reason_of


def read_extraction(root: Path) -> dict[str, object]:
    """The settings that ``tools.extract_features`` made the features of a folder with; empty if it has no record."""
    path = root / EXTRACTION
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict) or not isinstance(settings.get("preprocessing"), str):
            raise ValueError("it names no preprocessing")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {reason_of(error) or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a record of tools.extract_features: {error}") from error
    return settings


def extraction_text(settings: dict[str, object]) -> str:
    """The contents of a record."""
    return json.dumps(settings, indent=2) + "\n"
