"""`use_device`: where models are made, and where what depends on no parameter is computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lazynet.backend import device_name
from lazynet.modes import device_mode


@contextmanager
def use_device(device: str) -> Iterator[None]:
    """Make models on a device, and compute there what depends on constants alone.

    Args:
        device: "cpu", "cuda" (the first GPU) or "cuda:1" and so on.

    Raises:
        SettingError: If it is no name of a device.
        DeviceError: If CuPy or the GPU is missing.

    >>> import lazynet as ln
    >>> with ln.use_device("cpu"):
    ...     ln.Model().device
    'cpu'
    """
    with device_mode(device_name(device)):
        yield
