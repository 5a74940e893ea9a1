"""Update rules as kernels for a GPU: one launch for a flat buffer, whatever the rule does to it.

The kernel is printed from what the rule's NumPy code does (`trace`), so there is one definition of
it. It computes in the order of that code, and rounds each result (no fused multiply-add).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from lazynet.backend import beside
from lazynet.backend.kernels import C_TYPES, raw
from lazynet.kinds import Array
from lazynet.ops.cuda_formula import FUNCTIONS, c_statements
from lazynet.ops.formula import Step
from lazynet.optim.trace import Rule, trace

_THREADS = 256
_BLOCKS = 1 << 16


class Buffer(NamedTuple):
    """What one launch updates, flat arrays on a GPU.

    Attributes:
        x: Values.
        slots: As many numbers for each slot.
        gradient: As many as values, or as the rows have.
        width: Elements of a row.
        rows: Numbers of the rows that have a gradient, ascending, on the host; None for all.
        spread: Whether the others are updated too, with a gradient of zero.
    """

    x: Array
    slots: dict[str, Array]
    gradient: Array
    width: int = 1
    rows: Array | None = None
    spread: bool = False


def launch(rule: Rule, buffer: Buffer) -> bool:
    """Update a buffer by a rule.

    Returns:
        False if the rule is not element by element, or does what no program knows; nothing has
        been changed then.
    """
    x, rows = buffer.x, buffer.rows
    names = {slot: f"s{i}" for i, slot in enumerate(buffer.slots)}
    try:
        found = trace(rule, names, x.dtype)
    except Exception:  # a rule of a user's that is wrong fails again with the arrays themselves
        return False
    size = len(x) if rows is None or buffer.spread else len(buffer.gradient)
    if not size:
        return True
    kind = "all" if rows is None else "spread" if buffer.spread else "rows"
    source = _source(
        found.steps, found.results, len(names), len(found.numbers), kind, C_TYPES[x.dtype.char]
    )
    count = 0 if rows is None else len(rows)
    index = np.int64(0) if rows is None or not count else beside(x, rows)
    raw(source, "lazynet_update", ("--fmad=false",))(
        (min(_BLOCKS, -(-size // _THREADS)),),
        (_THREADS,),
        (
            np.int64(size), np.int64(buffer.width), np.int64(count), index, buffer.gradient, x,
            *buffer.slots.values(), *[x.dtype.type(number) for number in found.numbers],
        ),
    )  # fmt: skip
    return True


_FIND = {
    "all": "const I at = i; const T g = gradient[at];",
    "rows": "const I at = rows[i / width] * width + i % width; const T g = gradient[i];",
    "spread": """const I at = i, row = i / width;
        I low = 0, high = count;  // the first that is no less
        while (low < high) {
            const I middle = (low + high) / 2;
            if (rows[middle] < row) low = middle + 1; else high = middle;
        }
        const T g = low < count && rows[low] == row ? gradient[low * width + i % width] : (T)0;""",
}
"""How thread i finds its place and gradient."""


@lru_cache(maxsize=4096)
def _source(
    steps: tuple[Step, ...],
    results: tuple[tuple[str, int], ...],
    slots: int,
    numbers: int,
    kind: str,
    type_: str,
) -> str:
    names = ["x", *[f"s{i}" for i in range(slots)]]
    lines, text = c_statements(steps)
    parameters = ["const I size", "const I width", "const I count", "const I* rows"]
    parameters += ["const T* gradient", *[f"T* all_{name}" for name in names]]
    parameters += [f"const T n{i}" for i in range(numbers)]
    body = [_FIND[kind], *[f"const T {name} = all_{name}[at];" for name in names], *lines]
    body += [f"all_{name}[at] = {text[step]};" for name, step in results]
    newline = "\n        "
    return f"""typedef {type_} T;
typedef long long I;
{FUNCTIONS}
extern "C" __global__ void lazynet_update({", ".join(parameters)}) {{
    const I step = (I)gridDim.x * blockDim.x;
    for (I i = (I)blockIdx.x * blockDim.x + threadIdx.x; i < size; i += step) {{
        {newline.join(body)}
    }}
}}
"""


__all__ = ["Buffer", "launch"]
