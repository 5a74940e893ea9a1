"""What mypyc has to be told about classes that it compiles, and a class that it cannot compile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr

    from lazynet.tape import Tape
else:
    T = TypeVar("T")

    def mypyc_attr(*flags: str, **settings: object) -> Callable[[T], T]:
        """A class decorator that mypyc reads while it compiles, and that does nothing."""
        return lambda cls: cls


class Local(threading.local):
    """What every thread has of its own: its open tape. Each starts with this one."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape


__all__ = ["Local", "mypyc_attr"]
