"""Numbers and lists in the sentences of messages."""

import shlex
from collections.abc import Sequence


def counted(number: int, singular: str, plural: str) -> str:
    """A number with the words that agree with it: '1 row is', '2 rows are'."""
    return f"{number} {singular if number == 1 else plural}"


def listed(values: Sequence[object], most: int = 20) -> str:
    """The first ``most`` values, separated by commas, and the number of the others."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more


def command_line(tool: str, *arguments: object) -> str:
    """The command line of a tool, to be copied into a shell: paths with blanks are quoted."""
    return f"python -m tools.{tool} {shlex.join(map(str, arguments))}"
