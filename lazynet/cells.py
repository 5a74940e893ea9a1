"""Source lines in notebooks, whose cells are compiled under the names of temporary files."""

from __future__ import annotations

import sys
from typing import Any


def cell_of(file: str) -> str:
    """``In[3]`` for the file name of a notebook's third cell; "" for any other file."""
    interactive: Any = sys.modules.get("IPython")
    shell = interactive.get_ipython() if interactive is not None else None
    found = shell.compile.format_code_name(file) if shell is not None else None
    return str(found[1]) if found else ""


def readable(line: str) -> str:
    """``file:line`` as it is, or ``In[3]:line`` where the file is a notebook's cell."""
    file, colon, number = line.rpartition(":")
    cell = cell_of(file) if colon else ""
    return f"{cell}:{number}" if cell else line
