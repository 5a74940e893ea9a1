"""What operations say of themselves: their equation, and what a node of them carries."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np

from lazynet.kinds import Kind, Op

_equations: dict[str, tuple[str, tuple[str, ...]]] = {}


def _equation(op: type[Op]) -> tuple[str, tuple[str, ...]]:
    """The equation that a class of ops has for a docstring, and how that names arguments."""
    key = f"{op.__module__}.{op.__qualname__}"
    found = _equations.get(key)
    if found is None or op.__module__ == "__main__":  # where a class is often written anew
        found = _equations[key] = _read_equation(op)
    return found


def _read_equation(op: type[Op]) -> tuple[str, tuple[str, ...]]:
    lines = (op.__doc__ or "").strip().splitlines()
    text = lines[0].rstrip(".") if lines and op.__doc__ != Op.__doc__ else ""
    text = re.split(r"; |, and |, with |: d[a-z]|, d[a-zA-Z_]+ =", text)[0]
    if " = " not in text:
        return "", ()
    names = getattr(op, "arguments", None)
    if names is None:
        try:
            names = tuple(inspect.signature(op.shape).parameters)[1:]
        except (TypeError, ValueError):  # compiled
            names = ()
    return text, tuple(names)


def formula(kind: Kind, number: int, arguments: tuple[int, ...], payload: Any) -> str:
    """The equation of a node, with the numbers of nodes and the payload filled in."""
    if not kind.args or kind.op.payload == "parameter":
        return ""
    if kind.position:
        return f"v{number} = result {kind.position + 1} of v{arguments[0] if arguments else '?'}"
    text, names = ("", ()) if kind.op.staged else _equation(type(kind.op))
    shown = {"y": f"v{number}"}
    for name, a in zip(names, arguments):
        shown[name] = f"v{a}"
    if kind.op.payload == "float" and isinstance(payload, (int, float)):
        shown["c"] = f"{payload:g}"
    elif kind.op.payload == "int" and isinstance(payload, int):
        shown["i"] = str(payload)
    left, _, right = text.partition(" = ")
    read = set(re.findall(r"[A-Za-z]\w*", right))
    if left == "y" and read & set(names) and len(names) == len(arguments):
        filled = re.sub(r"[A-Za-z]\w*", lambda m: shown.get(m[0], m[0]), text)
        return re.sub(r"\bthe (v\d+)\b", r"\1", filled)
    given = [f"v{a}" for a in arguments]
    if len(given) > 6:
        given = [*given[:3], "...", given[-1]]
    return f"v{number} = {kind.op.name}({', '.join(given)})"


_PAYLOADS = {"int": "index", "ints": "indices", "row": "row", "rows": "rows"}


def payload_text(op: Op, payload: Any) -> str:
    """What a node carries, as text."""
    if payload is None or op.payload == "parameter":
        return ""
    if op.staged:  # what fills its slots, and then perhaps a random key
        trace = getattr(op, "trace", None)
        given = payload if isinstance(payload, tuple) else (payload,)
        if trace is not None and trace.keys:
            given = given[:-1]
        return f"given {', '.join(map(_short, given))}" if given else ""
    if op.payload == "float":
        return f"c = {_short(payload)}"
    if op.payload == "key":
        return "random numbers"
    word = _PAYLOADS.get(op.payload or "", "")
    if word == "index" and isinstance(payload, (list, tuple, np.ndarray)):
        word = "indices"
    return f"{word} {_short(payload)}" if word else ""


def _short(payload: Any) -> str:
    if isinstance(payload, float):
        return f"{payload:g}"
    if isinstance(payload, (list, tuple, np.ndarray)):
        flat = np.asarray(payload).reshape(-1).tolist()
        text = ", ".join([f"{x:g}" if isinstance(x, float) else str(x) for x in flat[:6]])
        return text + (f", ... ({len(flat)} in all)" if len(flat) > 6 else "")
    return str(payload)
