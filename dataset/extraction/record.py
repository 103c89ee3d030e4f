"""How features are made from videos, and its record, ``extraction.json`` in the data folder."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from dataset.layout import EXTRACTION
from utils.errors import AccessError, InputError, reason_of

DEFAULT_VISUAL, DEFAULT_AUDIO = "vgg19", "vggish"  # all other names are of networks of transformers
PREPROCESSING = ("torchvision", "caffe")  # of the pictures for VGG-19, with the weights that belong to it
OWN = "own"  # the preprocessing that another network comes with


@dataclass(frozen=True)
class Settings:
    """What features depend on, the weights aside. A checkpoint keeps it as its ``extraction``."""

    visual: str = DEFAULT_VISUAL  # the network of the pictures: its name, or its folder
    audio: str = DEFAULT_AUDIO  # the network of the sound
    preprocessing: str = PREPROCESSING[0]  # of the pictures
    precision: str = "fp32"
    frames_per_second: int = 16  # pictures over which a second is averaged
    map_size: int = 7  # height and width of the maps
    segments: int = 10  # seconds of a video


def choose_settings(asked: Mapping[str, object], record: Mapping[str, object]) -> Settings:
    """The settings that are asked for; those that are not (None) are as in a record, or the default.

    Raises:
        InputError: a preprocessing is asked for, and the network comes with its own.
    """
    names = [field.name for field in fields(Settings)]
    chosen = Settings(**{name: value for name in names if (value := asked.get(name) or record.get(name))})
    is_default = chosen.visual == DEFAULT_VISUAL
    if not is_default and asked.get("preprocessing"):
        raise InputError(f"--preprocessing is for {DEFAULT_VISUAL}: {chosen.visual} has its own, leave it out")
    known = chosen.preprocessing if chosen.preprocessing in PREPROCESSING else PREPROCESSING[0]
    networks = {"visual": _in_full(chosen.visual), "audio": _in_full(chosen.audio)}
    return replace(chosen, **networks, preprocessing=known if is_default else OWN)


def networks_of(record: Mapping[str, object]) -> str:
    """The networks that made features, in words, such as "vgg19 (caffe) and vggish"; empty for an empty record."""
    if not record:
        return ""
    known = {**asdict(Settings()), **record}
    names = [str(known[key]) for key in ("visual", "audio")]
    visual, audio = (Path(name).name if Path(name).is_absolute() else name for name in names)  # it may have moved
    return f"{visual} ({known['preprocessing']}) and {audio}" if visual == DEFAULT_VISUAL else f"{visual} and {audio}"


def read_extraction(root: Path) -> dict[str, object]:
    """The settings that ``tools.extract_features`` made the features of a folder with; empty if it has no record."""
    path = root / EXTRACTION
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict) or not isinstance(settings.get("preprocessing"), str):
            raise ValueError("it names no preprocessing")
        if settings.get("visual", DEFAULT_VISUAL) == DEFAULT_VISUAL and settings["preprocessing"] not in PREPROCESSING:
            found, expected = str(settings["preprocessing"])[:80], " or ".join(PREPROCESSING)
            raise ValueError(f"its preprocessing is {found!r}, expected {expected}")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise AccessError(f"{path}: cannot be read: {reason_of(error) or error}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not a record of tools.extract_features: {error}") from error
    return settings


def extraction_text(settings: Mapping[str, object]) -> str:
    """The contents of a record."""
    return json.dumps(settings, indent=2) + "\n"


def _in_full(name: str) -> str:
    """The name of a network, or the whole path of its folder, so that it is found from elsewhere."""
    is_folder = name not in (DEFAULT_VISUAL, DEFAULT_AUDIO) and Path(name).is_dir()
    return str(Path(name).resolve()) if is_folder else name
