"""Fonts for names in any script."""

import logging
from collections.abc import Iterable
from functools import cache

from matplotlib.font_manager import FontEntry, findSystemFonts, fontManager
from matplotlib.ft2font import FT2Font

log = logging.getLogger(__name__)

DEFAULT = "DejaVu Sans"  # part of matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and more, but no Chinese
LAST_RESORT = "Last Resort High-Efficiency"  # part of matplotlib: draws a box for every letter


def font_families(texts: Iterable[str]) -> list[str]:
    """Font families that together have the letters of ``texts``, for matplotlib's ``font.family``.

    They are the default and those installed families that add most letters. A warning names the letters that no
    installed font has; matplotlib draws boxes in their place.
    """
    letters = {letter for text in texts for letter in text if letter.isprintable()}
    return [DEFAULT, *_families_for(frozenset(letters - _letters(_entries()[DEFAULT], letters)))]


@cache
def _families_for(missing: frozenset[str]) -> list[str]:
    """Families for letters that the default lacks. Cached, so that each set of letters is searched and logged once."""
    if not missing:
        return []
    known = {entry.fname for entry in fontManager.ttflist}
    for path in findSystemFonts():  # matplotlib's own list does not include fonts installed since its first import
        if path not in known:
            try:
                fontManager.addfont(path)
            except (OSError, RuntimeError):
                log.debug("%s: not a font that matplotlib can read", path)
    found = {name: _letters(entry, missing) for name, entry in _entries().items()}
    families = []
    while any(letters & missing for letters in found.values()):
        family, letters = max(found.items(), key=lambda item: len(item[1] & missing))
        families.append(family)
        missing -= letters
    if missing:
        log.warning(
            "warning: no installed font has the letters %s, pictures show boxes in their place: install a font that "
            "has them, such as one of the Noto fonts",
            " ".join(sorted(missing)),
        )
    return families


def _entries() -> dict[str, FontEntry]:
    """The upright font of each installed family with the weight nearest to normal; sans-serif families come first."""
    upright = [entry for entry in fontManager.ttflist if entry.style == "normal" and entry.name != LAST_RESORT]
    entries: dict[str, FontEntry] = {}
    for entry in sorted(upright, key=lambda each: ("Sans" not in each.name, each.name, abs(each.weight - 400))):
        entries.setdefault(entry.name, entry)
    return entries


def _letters(entry: FontEntry, letters: Iterable[str]) -> set[str]:
    """Those of ``letters`` that a font has; none if it cannot be read or scaled."""
    try:
        font = FT2Font(entry.fname, face_index=entry.index)
    except (OSError, RuntimeError):
        return set()
    return {letter for letter in letters if font.scalable and font.get_char_index(ord(letter))}
