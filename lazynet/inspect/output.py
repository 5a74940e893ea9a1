"""Files that pictures, pages and traces are written to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lazynet.errors import ArgumentError, FileError


def path_of(path: Any, name: str, example: str) -> Path:
    """What was given to a function of this name as a path.

    Raises:
        ArgumentError: If it is none.
    """
    if not isinstance(path, (str, os.PathLike)) or isinstance(path, bytes):
        raise ArgumentError(
            f"{name}: got {path!r} for a path; it takes a string or pathlib.Path, such as "
            f"{example!r}"
        )
    return Path(path)


def write(target: Path, content: bytes, name: str) -> None:
    """Write a file for a function of this name.

    Raises:
        FileError: If that cannot be done.
    """
    try:
        target.write_bytes(content)
    except OSError as error:
        raise FileError(
            f"{name}: {str(target)!r} cannot be written ({error.strerror or error}); give a file "
            "in a folder that exists and is yours to write to"
        ) from error


__all__ = ["path_of", "write"]
