"""Cases that DyNet's wheel and `lazynet.dynet` both run, and what is recorded of them.

A case is a function of the module under test, `dy`. `case` gives it inputs and records the value,
its dimensions and the gradient of every input; `script` leaves it alone with a random generator
and records the arrays that it returns. The tables (`table_*.py`) import nothing but this module
and NumPy, so that `record.py` can run them where only the wheel is installed.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

DATA = Path(__file__).parent / "data"


class Case(NamedTuple):
    """One case of a table.

    Attributes:
        name: Unique within the table.
        function: What is run.
        inputs: Shape of each input; None for a script.
        batch: Examples of each input that is a minibatch.
        domain: How numbers are drawn; of one input, or of all under "".
        rtol: Relative tolerance, of the largest number in an array too.
    """

    name: str
    function: Callable[..., Any]
    inputs: dict[str, tuple[int, ...]] | None
    batch: dict[str, int]
    domain: dict[str, Any]
    rtol: float


class Table:
    """The cases of one file.

    >>> table = Table()
    >>> @table.case(x=(2, 3))
    ... def tanh(dy, x):
    ...     return dy.tanh(x)
    """

    def __init__(self) -> None:
        self.cases: dict[str, Case] = {}

    def case(
        self,
        name: str = "",
        batch: dict[str, int] | None = None,
        domain: Any = "normal",
        rtol: float = 1e-4,
        **inputs: tuple[int, ...],
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A function of `dy` and of inputs of these shapes that returns one expression.

        `domain` is "normal", "positive" (0.5 to 2), "unit" (0.05 to 0.95), an array, or a dict of
        these by input.
        """

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            domains = domain if isinstance(domain, dict) else {"": domain}
            self._add(Case(name or function.__name__, function, inputs, batch or {}, domains, rtol))
            return function

        return add

    def add(self, name: str, function: Callable[..., Any], **settings: Any) -> None:
        """`case` for a function at hand, such as a lambda in a loop."""
        self.case(name, **settings)(function)

    def script(
        self, name: str = "", rtol: float = 1e-4
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A function of `dy` and a `RandomState` that returns a dict of arrays."""

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            self._add(Case(name or function.__name__, function, None, {}, {}, rtol))
            return function

        return add

    def _add(self, case: Case) -> None:
        if case.name in self.cases:
            raise ValueError(f"two cases are called {case.name!r}")
        self.cases[case.name] = case


def draw(rng: np.random.RandomState, shape: tuple[int, ...], domain: Any) -> np.ndarray:
    """An input. `RandomState` draws the same numbers with every version of NumPy."""
    if not isinstance(domain, str):
        return np.asarray(domain, np.float64)
    if domain == "normal":
        return rng.standard_normal(shape)
    low, high = {"positive": (0.5, 2.0), "unit": (0.05, 0.95)}[domain]
    return rng.uniform(low, high, shape)


def as_input(dy: Any, array: np.ndarray, batched: bool) -> Any:
    """An input; the last axis is the batch, if there is one."""
    if not batched and array.shape == (1,):
        return dy.scalarInput(float(array[0]))
    return dy.inputTensor(array, batched=batched)


def run(case: Case, dy: Any) -> dict[str, np.ndarray]:
    """What is recorded of a case: arrays by name."""
    rng = np.random.RandomState(zlib.crc32(case.name.encode()))
    dy.renew_cg()
    if case.inputs is None:
        return {name: np.asarray(a) for name, a in case.function(dy, rng).items()}
    leaves = {}
    for name, shape in case.inputs.items():
        batched = name in case.batch
        full = (*shape, case.batch[name]) if batched else shape
        domain = case.domain.get(name, case.domain.get("", "normal"))
        leaves[name] = as_input(dy, draw(rng, full, domain), batched)
    y = case.function(dy, **leaves)
    found = {"value": np.array(y.npvalue()), "dim": np.array([*y.dim()[0], y.dim()[1]])}
    weights = rng.standard_normal(found["value"].shape)
    product = dy.cmult(y, as_input(dy, weights, y.dim()[1] > 1))
    loss = dy.sum_batches(dy.sum_elems(product))
    loss.backward(full=True)
    for name, leaf in leaves.items():
        found[f"gradient of {name}"] = np.array(leaf.gradient())
    return found


def tables() -> dict[str, Table]:
    """All tables, by name."""
    import importlib

    names = sorted(path.stem for path in Path(__file__).parent.glob("table_*.py"))
    return {name.removeprefix("table_"): importlib.import_module(name).TABLE for name in names}


def save(name: str, results: dict[str, dict[str, np.ndarray]], versions: dict[str, str]) -> None:
    """Write what was recorded of a table: all real numbers as one array, the rest as text."""
    index: dict[str, dict[str, Any]] = {}
    parts = [np.zeros(0, np.float32)]
    size = 0
    for case, arrays in results.items():
        index[case] = {}
        for key, array in arrays.items():
            if array.dtype.kind == "f":  # float32 is all that the wheel computes
                parts.append(array.astype(np.float32).reshape(-1))
                index[case][key] = [list(array.shape), size]
                size += array.size
            else:
                index[case][key] = array.tolist()
    text = json.dumps({"versions": versions, "cases": index}, indent=0)
    np.savez_compressed(DATA / f"{name}.npz", numbers=np.concatenate(parts), index=np.array(text))


def load(name: str) -> dict[str, dict[str, np.ndarray]]:
    """What was recorded of a table, by case."""
    with np.load(DATA / f"{name}.npz") as stored:
        numbers, index = stored["numbers"], json.loads(str(stored["index"]))["cases"]

    def array(entry: Any) -> np.ndarray:
        if (
            isinstance(entry, list)
            and len(entry) == 2
            and isinstance(entry[0], list)
            and isinstance(entry[1], int)
        ):
            shape, start = entry
            return numbers[start : start + int(np.prod(shape))].reshape(shape)
        return np.array(entry)

    return {
        case: {key: array(entry) for key, entry in arrays.items()} for case, arrays in index.items()
    }


def compare(case: Case, got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Fail unless both hold the same arrays."""
    assert sorted(got) == sorted(expected)
    for key, right in expected.items():
        mine = np.asarray(got[key])
        assert mine.shape == right.shape, f"{key}: {mine.shape} instead of {right.shape}"
        if right.dtype.kind not in "fiu":
            assert mine.tolist() == right.tolist(), key
            continue
        scale = float(np.abs(right).max(initial=0.0, where=np.isfinite(right)))
        np.testing.assert_allclose(
            mine, right, rtol=case.rtol, atol=0.1 * case.rtol * scale + 1e-7, err_msg=key
        )
