"""Which line of the user's code something happened at."""

from __future__ import annotations

import os
import re

_HERE = os.path.dirname(os.path.abspath(__file__))


def is_library(filename: str) -> bool:
    """True for a file of Python, of an installed package, or of this project."""
    parts = filename.split(os.sep)
    library = os.path.dirname(_HERE)
    return (
        filename.startswith("<")
        or "site-packages" in parts
        or filename.startswith(os.path.dirname(os.__file__) + os.sep)
        or filename.startswith(os.path.join(library, "distrib") + os.sep)
        or filename.startswith(_HERE + os.sep)
    )


def place(filename: str, line: int, function: str) -> str:
    """``file:line in function``.

    >>> place("train.py", 3, "step"), place("train.py", 3, "<module>")
    ('train.py:3 in step', 'train.py:3')
    """
    return f"{filename}:{line}" + ("" if function == "<module>" else f" in {function}")


def place_in_stack(stack: str) -> str:
    """The innermost line of the user in faulthandler's text of the thread that failed."""
    current = stack.partition("most recent call first")[2].partition("\n\n")[0]
    found = re.findall(r'File "(.*?)", line (\d+) in (\S+)', current)
    own = [entry for entry in found if not is_library(entry[0])]
    if not found:
        return ""
    filename, line, function = (own or found)[0]
    return place(filename, int(line), function)
