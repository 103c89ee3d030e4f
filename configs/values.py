"""Checks of the values in a config."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from reprlib import repr as short_repr  # shortens a value of any size
from types import MappingProxyType
from typing import Any

MAX_INT = 2**31 - 1


def require(config: object, name: str, valid: Callable[[Any], bool], expected: str) -> None:
    """Raise a ``ValueError`` that names the field, its value and what was expected unless the value is ``valid``."""
    value = getattr(config, name)
    if not valid(value):
        raise ValueError(f"{name} is {short_repr(value)}, expected {expected}")


def check_types(
    config: object,
    at_least: Mapping[str, int] = MappingProxyType({}),
    at_most: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Check the numbers of a config dataclass against their declared types and ranges.

    An int lies between 1 and 2**31 - 1; ``at_least`` and ``at_most`` give other limits by field name.

    A ``TypeError`` or ``ValueError`` names the field, its value and what was expected.
    """
    for each in fields(config):
        value = getattr(config, each.name)
        if each.type is int:
            lowest, highest = at_least.get(each.name, 1), at_most.get(each.name, MAX_INT)
            if type(value) is not int:
                raise TypeError(f"{each.name} is {short_repr(value)}, expected a whole number")
            if value < lowest:
                raise ValueError(f"{each.name} is {short_repr(value)}, expected {lowest} or more")
            if value > highest:
                raise ValueError(f"{each.name} is {short_repr(value)}, expected {highest} or less")
        elif each.type is float and type(value) not in (int, float):
            raise TypeError(f"{each.name} is {short_repr(value)}, expected a number")
