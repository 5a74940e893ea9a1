"""Modes: settings that hold inside a ``with`` block, for this thread or coroutine only.

All of them live in ONE context variable, because the record path reads it once per node.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Modes:
    """The settings in force. Immutable: a ``with`` block puts another object in its place."""

    __slots__ = ("autobatch", "debug", "device", "fuse", "gradients", "marks", "training")

    def __init__(
        self,
        gradients: bool,
        training: bool,
        debug: bool,
        autobatch: bool,
        fuse: bool = True,
        device: str = "cpu",
    ) -> None:
        self.gradients = gradients
        self.training = training
        self.debug = debug
        self.autobatch = autobatch
        self.fuse = fuse
        self.device = device
        self.marks = debug or not gradients
        """Whether every recorded node has to be marked: the only test on the record path."""


MODES: ContextVar[Modes] = ContextVar("lazynet.modes", default=Modes(True, True, False, True))


@contextmanager
def _mode(modes: Modes) -> Iterator[None]:
    token = MODES.set(modes)
    try:
        yield
    finally:
        MODES.reset(token)


@contextmanager
def no_grad() -> Iterator[None]:
    """Record nodes that ``backward`` takes for leaves: no gradient flows through them.

    >>> import lazynet as ln
    >>> with ln.no_grad():
    ...     x = ln.constant([1.0, 2.0]) * 3
    >>> x.value().tolist()
    [3.0, 6.0]
    """
    m = MODES.get()
    with _mode(Modes(False, m.training, m.debug, m.autobatch, m.fuse, m.device)):
        yield


@contextmanager
def training(mode: bool = True) -> Iterator[None]:
    """Switch dropout and noise on (the default outside any block) or, with False, off.

    The mode is read when a node is recorded.

    >>> import lazynet as ln
    >>> with ln.training(False):
    ...     ln.dropout(ln.constant([1.0, 2.0]), 0.5).value().tolist()
    [1.0, 2.0]
    """
    m = MODES.get()
    with _mode(Modes(m.gradients, bool(mode), m.debug, m.autobatch, m.fuse, m.device)):
        yield


@contextmanager
def debug() -> Iterator[None]:
    """Remember for every node the source line that recorded it; failures then show that line."""
    m = MODES.get()
    with _mode(Modes(m.gradients, m.training, True, m.autobatch, m.fuse, m.device)):
        yield


@contextmanager
def no_autobatch() -> Iterator[None]:
    """Evaluate node by node, in the order of recording: the reference for every batched result."""
    m = MODES.get()
    with _mode(Modes(m.gradients, m.training, m.debug, False, m.fuse, m.device)):
        yield


@contextmanager
def no_fuse() -> Iterator[None]:
    """Record operation by operation what `ln.fuse` and `ln.scan` would fuse: their reference.

    >>> import lazynet as ln
    >>> twice = ln.fuse(lambda x: ln.tanh(x) + x)
    >>> x = ln.constant([0.0])
    >>> len(ln.plan(twice(x)))
    2
    >>> with ln.no_fuse():
    ...     len(ln.plan(twice(x)))
    3
    """
    m = MODES.get()
    with _mode(Modes(m.gradients, m.training, m.debug, m.autobatch, False, m.device)):
        yield


@contextmanager
def device_mode(device: str) -> Iterator[None]:
    """The device of models and of what depends on no parameter; see `use_device`."""
    m = MODES.get()
    with _mode(Modes(m.gradients, m.training, m.debug, m.autobatch, m.fuse, device)):
        yield


@contextmanager
def tracing() -> Iterator[None]:
    """The modes in which a fused function is traced: gradients on, lines remembered."""
    m = MODES.get()
    with _mode(Modes(True, m.training, True, m.autobatch, m.fuse, m.device)):
        yield


def is_training() -> bool:
    """Whether dropout and noise are on."""
    return MODES.get().training
