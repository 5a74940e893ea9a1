"""Where arrays lie: on the host, or on a GPU through CuPy, which is imported when first asked for.

A device is named "cpu", "cuda" (the first GPU) or "cuda:1". Arrays on a GPU are CuPy's, and NumPy's
functions hand them to CuPy's, so that an op is written once. What has no counterpart there, and
whatever an executor does with rows and indices, goes through the functions of this package.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazynet.errors import DeviceError, DtypeError, OutOfMemoryError, SettingError

CPU = "cpu"

_HOST = (np.ndarray, np.generic)


def device_name(device: Any) -> str:
    """The full name of a device that can be used: "cpu", or "cuda:0" and the like.

    Raises:
        SettingError: If it is no name of a device.
        DeviceError: If CuPy is missing, or there is no such GPU.
    """
    if device == CPU:
        return CPU
    found = re.fullmatch(r"cuda(?::(\d{1,3}))?", device) if isinstance(device, str) else None
    if found is None:
        raise SettingError(
            f"device: got {device!r}; it must be 'cpu', 'cuda' (the first GPU) or 'cuda:1' and on"
        )
    number = int(found[1] or 0)
    count = _gpu_count()
    if number >= count:
        some = "there is 1: 'cuda:0'" if count == 1 else f"there are {count}: 'cuda:0' and so on"
        there = some if count else "there is none"
        raise DeviceError(
            f"device {device!r}: CuPy finds no such GPU; {there}; check nvidia-smi and "
            "CUDA_VISIBLE_DEVICES, or use device='cpu'"
        )
    _Used.gpu = True
    return f"cuda:{number}"


def _gpu_count() -> int:
    cupy = _cupy()
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(
            f"device 'cuda': CuPy finds no GPU that it can use ({error}); check nvidia-smi and the "
            "driver, or use device='cpu'"
        ) from error


def gpu_description() -> str:
    """Name of the first GPU, and the version of CuPy.

    Raises:
        DeviceError: If CuPy or the GPU is missing.
    """
    device_name("cuda")
    cupy = _cupy()
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return f"{name}, CuPy {cupy.__version__}"


def check_dtype(dtype: np.dtype[Any], device: str) -> None:
    """Raise where CuPy has no such dtype.

    Raises:
        DtypeError: For bfloat16 before CuPy 14.
    """
    if device == CPU or dtype.kind != "V":
        return
    version = _cupy().__version__
    if int(version.partition(".")[0]) < 14:
        raise DtypeError(
            f"dtype: got 'bfloat16' on {device!r}, which CuPy {version} lacks; it takes CuPy 14; "
            "install that with pip install -U 'lazynet[cuda13]' (or [cuda12]), or use 'float16'"
        )


def _cupy() -> Any:
    try:
        import cupy
    except ImportError as error:
        raise DeviceError(
            f"device 'cuda' needs CuPy, which cannot be imported ({error}); install it with "
            "pip install 'lazynet[cuda13]' (or [cuda12], to match the driver that nvidia-smi shows)"
        ) from error
    return cupy


def device_of(array: Any) -> str:
    """The device that an array lies on."""
    return CPU if isinstance(array, _HOST) else f"cuda:{array.device.id}"


def is_device_array(x: Any) -> bool:
    """Whether something is an array on a GPU, of CuPy or of another library."""
    return not isinstance(x, _HOST) and hasattr(x, "__cuda_array_interface__")


def as_device_array(x: Any) -> Any:
    """An array on a GPU as CuPy's, without a copy."""
    _Used.gpu = True
    return _cupy().asarray(x)


class _Used:
    gpu = False


def gpu_in_use() -> bool:
    """Whether anything has been put on a GPU yet: until then nobody need ask where an array is."""
    return _Used.gpu


def to_host(array: Any) -> NDArray[Any]:
    """An array as NumPy's: itself, or a copy."""
    if isinstance(array, _HOST):
        return np.asarray(array)
    return array.get()  # type: ignore[no-any-return]


def to_device(array: Any, device: str) -> NDArray[Any]:
    """An array on a device: itself if it lies there, else a copy.

    Raises:
        OutOfMemoryError: If there is no room for it.
    """
    if device_of(array) == device:
        return array  # type: ignore[no-any-return]
    if device == CPU:
        return array.get()  # type: ignore[no-any-return]
    cupy = _cupy()
    with cupy.cuda.Device(int(device.partition(":")[2])):
        try:
            return cupy.asarray(array)  # type: ignore[no-any-return]
        except cupy.cuda.memory.OutOfMemoryError as error:
            raise out_of_memory(f"an array of shape {array.shape}", array.nbytes) from error


def where_it_lies(array: Any) -> Any:
    """A context in which the device of an array is the current one, for what needs no mirror."""
    device = device_of(array)
    return nullcontext() if device == CPU else _cupy().cuda.Device(int(device.partition(":")[2]))


def module_of(array: Any) -> Any:
    """NumPy, or CuPy, for functions that make arrays."""
    return np if isinstance(array, _HOST) else _cupy()


def out_of_memory(what: str, size: int) -> OutOfMemoryError:
    """The error for a GPU that is full."""
    cupy = _cupy()
    free, total = cupy.cuda.runtime.memGetInfo()
    pool = cupy.get_default_memory_pool()
    return OutOfMemoryError(
        f"{what} needs {size / 1e9:.2f} GB of device memory; the GPU has {total / 1e9:.2f} GB, of "
        f"which {free / 1e9:.2f} GB are free and {pool.free_bytes() / 1e9:.2f} GB more can be used "
        "again; evaluate fewer examples at a time, drop expressions that are no longer needed, or "
        "use a smaller model"
    )


def device_is_full(error: MemoryError) -> OutOfMemoryError:
    """The error for what CuPy raises where the GPU is full."""
    return out_of_memory("an intermediate result", int(getattr(error, "_size", 0)))


def synchronize(device: str) -> None:
    """Return when everything that a GPU was told to do is done."""
    if device != CPU:
        _cupy().cuda.Device(int(device.partition(":")[2])).synchronize()


def remedy(error: Exception) -> str:
    """What to do about an error of an operation that mixed arrays of host and GPU; or nothing."""
    if not _Used.gpu or not isinstance(error, (TypeError, ValueError)):
        return ""
    if not re.search(r"numpy\.ndarray|NumPy array", str(error)):
        return ""
    return (
        "; its arguments are arrays on a GPU, which do not mix with those of the host: make arrays "
        "like an argument, np.zeros_like(x, shape=...), and take functions of NumPy that CuPy has"
    )


@contextmanager
def on_device(device: str, mirror: Any = None) -> Iterator[Any]:
    """Make a device the current one; on a GPU, with a mirror of host arrays (`cuda.Mirror`).

    Yields:
        The mirror: the one given, or a new one; None on the host.
    """
    if device == CPU:
        yield None
        return
    from lazynet.backend.cuda import Mirror, mirroring

    number = int(device.partition(":")[2])
    with _cupy().cuda.Device(number):
        if mirror is None:
            mirror = Mirror(number)
        try:
            with mirroring(mirror):
                yield mirror
        except MemoryError as error:
            if isinstance(error, OutOfMemoryError):
                raise
            raise device_is_full(error) from error
