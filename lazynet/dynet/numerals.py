"""Numbers as DyNet's files write them: ``+1.50000000e+00 ``, sixteen bytes each.

Both ways work on whole arrays. Formatting number by number would take four times as long, and
tables of word vectors have tens of millions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lazynet.kinds import Array

WIDTH = 16
_CHUNK = 1 << 14
"""Numbers at a time: what a chunk needs stays in the cache."""

_LOWEST, _HIGHEST = -60, 60
_POWERS = np.array([float(f"1e{k}") for k in range(_LOWEST, _HIGHEST + 1)])
_THREE = np.array([list(b"%03d" % k) for k in range(1000)], np.uint8)
_EXPONENTS = np.array([list(b"e%+03d" % k) for k in range(-99, 100)], np.uint8)
_DIGITS = [1, *range(3, 11)]
_WEIGHTS = 10.0 ** np.arange(8, -1, -1)
_TIE = 1e-4
"""How near the middle between two decimals rounding is left to Python; errors stay below 1e-6."""


def written(values: Array) -> Iterator[bytes]:
    """The text of numbers, in pieces.

    Args:
        values: float32, one axis.
    """
    for start in range(0, len(values), _CHUNK):
        yield _text(values[start : start + _CHUNK])


def _text(values: Array) -> bytes:
    if not np.isfinite(values).all():
        return b"".join([_one(x) for x in values])
    size = np.abs(values.astype(np.float64))
    zero = size == 0
    size[zero] = 1.0
    exponent = np.floor(np.log10(size)).astype(np.int64)
    scaled = size * _POWERS[8 - exponent - _LOWEST]
    for wrong, step in ((scaled >= 1e9, 1), (scaled < 1e8, -1)):
        if wrong.any():
            exponent[wrong] += step
            scaled[wrong] = size[wrong] * _POWERS[8 - exponent[wrong] - _LOWEST]
    digits = np.rint(scaled)
    doubtful = np.flatnonzero(np.abs(np.abs(scaled - digits) - 0.5) < _TIE)
    over = digits >= 1e9
    if over.any():
        digits[over] = 1e8
        exponent[over] += 1
    digits[zero] = 0
    whole = digits.astype(np.int64)
    high, low = np.divmod(whole, 1000)
    high, middle = np.divmod(high, 1000)
    text = np.empty((len(values), WIDTH), np.uint8)
    text[:, 0] = np.where(np.signbit(values), ord("-"), ord("+"))
    first = _THREE[high]
    text[:, 1] = first[:, 0]
    text[:, 2] = ord(".")
    text[:, 3:5] = first[:, 1:]
    text[:, 5:8] = _THREE[middle]
    text[:, 8:11] = _THREE[low]
    text[:, 11:15] = _EXPONENTS[exponent + 99]
    text[:, 15] = ord(" ")
    for i in doubtful.tolist():
        text[i] = np.frombuffer(_one(values[i]), np.uint8)
    return text.tobytes()


def _one(x: Any) -> bytes:
    if np.isnan(x):
        return b"-nan " if np.signbit(x) else b"+nan "
    return b"%+.8e " % float(x)


def parsed(line: bytes, count: int) -> Array:
    """The numbers of a line, however they are written.

    Args:
        line: The text.
        count: How many numbers there should be.

    Returns:
        float32, as many as there are.

    Raises:
        ValueError: If something in the line is no number.
    """
    if len(line.rstrip(b"\r\n")) == WIDTH * count:
        fields = np.frombuffer(line, np.uint8, WIDTH * count).reshape(count, WIDTH)
        result = np.empty(count, np.float32)
        for start in range(0, count, _CHUNK):
            part = _values(fields[start : start + _CHUNK])
            if part is None:
                break
            result[start : start + _CHUNK] = part
        else:
            return result
    with np.errstate(over="ignore"):
        return np.array([float(token) for token in line.split()]).astype(np.float32)


def _values(fields: Array) -> Array | None:
    """The values of fields of sixteen bytes; None unless all are as `written` makes them."""
    digits = fields[:, _DIGITS] - ord("0")
    powers = fields[:, 13:15] - ord("0")
    sign, power_sign = fields[:, 0], fields[:, 12]
    plain = (
        (digits < 10).all()
        and (powers < 10).all()
        and (fields[:, 2] == ord(".")).all()
        and (fields[:, 11] == ord("e")).all()
        and (fields[:, 15] == ord(" ")).all()
        and ((sign == ord("+")) | (sign == ord("-"))).all()
        and ((power_sign == ord("+")) | (power_sign == ord("-"))).all()
    )
    if not plain:
        return None
    exponent = powers[:, 0].astype(np.int64) * 10 + powers[:, 1]
    np.negative(exponent, out=exponent, where=power_sign == ord("-"))
    if (exponent < _LOWEST + 8).any() or (exponent > _HIGHEST).any():
        return None
    result = digits.astype(np.float64) @ _WEIGHTS
    result *= _POWERS[exponent - 8 - _LOWEST]
    np.negative(result, out=result, where=sign == ord("-"))
    return result
