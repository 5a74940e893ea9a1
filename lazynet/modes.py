"""Modes: settings that hold inside a ``with`` block, for this thread or coroutine only.

All of them live in ONE context variable, because the record path reads it once per node.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any


class Modes:
    """The settings in force. Not changed any more: a ``with`` block puts a copy in their place.

    Attributes:
        gradients: Whether gradients flow through what is recorded.
        training: Whether dropout and noise are on.
        debug: Whether nodes remember the line that recorded them.
        autobatch: Whether nodes are batched.
        fuse: Whether fused functions are one node.
        device: Of models, and of what depends on no parameter.
        profile: What evaluations are timed by (`timing.Recorder`), or None.
        anomaly: What stops an evaluation: 0 nothing, 1 NaN, 2 infinities too (`anomaly`).
        marks: Whether every recorded node has to be marked: the only test on the record path.
    """

    __slots__ = (
        "anomaly",
        "autobatch",
        "debug",
        "device",
        "fuse",
        "gradients",
        "marks",
        "profile",
        "training",
    )

    def __init__(
        self,
        gradients: bool,
        training: bool,
        debug: bool,
        autobatch: bool,
        fuse: bool = True,
        device: str = "cpu",
        profile: Any = None,
        anomaly: int = 0,
    ) -> None:
        self.gradients = gradients
        self.training = training
        self.debug = debug
        self.autobatch = autobatch
        self.fuse = fuse
        self.device = device
        self.profile = profile
        self.anomaly = anomaly
        self.marks = debug or not gradients

    def copy(self) -> Modes:
        """The same settings, to be changed before it is put in force."""
        return Modes(
            self.gradients,
            self.training,
            self.debug,
            self.autobatch,
            self.fuse,
            self.device,
            self.profile,
            self.anomaly,
        )


MODES: ContextVar[Modes] = ContextVar("lazynet.modes", default=Modes(True, True, False, True))


@contextmanager
def in_force(modes: Modes) -> Iterator[None]:
    """Put settings, a copy of those in force that was changed, in their place."""
    modes.marks = modes.debug or not modes.gradients
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
    modes = MODES.get().copy()
    modes.gradients = False
    with in_force(modes):
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
    modes = MODES.get().copy()
    modes.training = bool(mode)
    with in_force(modes):
        yield


@contextmanager
def debug() -> Iterator[None]:
    """Remember for every node the source line that recorded it; failures then show that line.

    A failure in forward also says which node of a batch it was, and of a fused function or a scan
    which operation inside. Recording is slower: fused functions are traced again at every call.

    >>> import lazynet as ln
    >>> with ln.debug():
    ...     x = ln.constant([1.0, 2.0])
    >>> x.index in x.tape.lines
    True
    """
    modes = MODES.get().copy()
    modes.debug = True
    with in_force(modes):
        yield


@contextmanager
def no_autobatch() -> Iterator[None]:
    """Evaluate node by node, in the order of recording: the reference for every batched result.

    >>> import lazynet as ln
    >>> xs = [ln.tanh(ln.constant([k, 1.0])) for k in range(3)]
    >>> len(ln.plan(xs))
    2
    >>> with ln.no_autobatch():
    ...     len(ln.plan(xs))
    6
    """
    modes = MODES.get().copy()
    modes.autobatch = False
    with in_force(modes):
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
    modes = MODES.get().copy()
    modes.fuse = False
    with in_force(modes):
        yield


@contextmanager
def device_mode(device: str) -> Iterator[None]:
    """The device of models and of what depends on no parameter; see `use_device`."""
    modes = MODES.get().copy()
    modes.device = device
    with in_force(modes):
        yield


@contextmanager
def tracing() -> Iterator[None]:
    """The modes in which a fused function is traced: gradients on, lines remembered."""
    modes = MODES.get().copy()
    modes.gradients = True
    modes.debug = True
    with in_force(modes):
        yield


def is_training() -> bool:
    """Whether dropout and noise are on.

    >>> import lazynet as ln
    >>> with ln.training(False):
    ...     ln.is_training()
    False
    """
    return MODES.get().training
