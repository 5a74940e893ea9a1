"""Pictures of the computation graph, for Graphviz, and its numbers as text.

What is drawn is what the current expressions were recorded with: the nodes recorded or computed
last, and whatever they need. Nodes that nobody needs and nobody refers to are gone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import lazynet.execute as engine
import lazynet.reading as reading
from lazynet.dynet.expression import Expression
from lazynet.dynet.graph import STATE, current_tape
from lazynet.dynet.parameters import LookupParameters, Parameters
from lazynet.errors import GradientError
from lazynet.graph import handle
from lazynet.kinds import Array
from lazynet.leaves import Import, Input, Rebatch, Unbatch, Unshare
from lazynet.ops.lookup import LookupAt, LookupRows
from lazynet.tape import Tape

Place = tuple[Tape, int]

_SIGNS = {
    "add": "+", "add_number": "+", "subtract": "-", "subtract_number": "-", "multiply": "*",
    "multiply_number": "*", "matmul": "*", "divide": "/", "divide_number": "/", "power": "**",
    "power_number": "**",
}  # fmt: skip
_SHORT = {"concatenate": "cat", "sum_list": "sum", "max_list": "max"}
_PARAMETER, _REGULAR, _FUSED = "1_param", "2_regular", "3_rnn_state"
_STYLES = {
    _PARAMETER: "[shape=ellipse]",
    _REGULAR: "[shape=rect]",
    _FUSED: "[shape=rect, peripheries=2]",
}


class _Node:
    """A node to be drawn.

    Attributes:
        place: Where it was recorded; of a parameter, where it was first used.
        number: Of the picture.
        op: Name of the operation.
        type: Which style it has.
        args: Numbers of the nodes it takes; of a fused one, its input first.
        before: Of a fused one, the fused nodes whose state it goes on from.
        constants: What it carries besides.
        leaf: The engine's parameter, of a parameter or of a table that is looked up.
        dims: Dimensions, as text; doubly braced where they were given and not derived.
        input_dims: Of a fused one, those of its input.
    """

    def __init__(self, place: Place, number: int, op: str) -> None:
        self.place = place
        self.number = number
        self.op = op
        self.type = _REGULAR
        self.args: list[int] = []
        self.before: list[int] = []
        self.constants: list[str] = []
        self.leaf: Any = None
        self.dims = ""
        self.input_dims: str | None = None


def _tapes() -> list[Tape]:
    """The current tape and those it needs, in the order they were recorded."""
    found: list[Tape] = []
    seen: set[Tape] = set()
    waiting = [current_tape()]
    while waiting:
        tape = waiting.pop()
        if tape not in seen and tape.sealed >= 0:
            seen.add(tape)
            found.append(tape)
            waiting += list(tape.imports)
    # an open tape, whose number is 0, is the newest
    return sorted(found, key=lambda tape: tape.sealed or sys.maxsize)


def _collect(tape: Tape) -> dict[int, Place]:
    return {
        here: (source, there)
        for source, places in tape.imports.items()
        for there, here in places.items()
    }


def nodes() -> list[_Node]:
    """The nodes of the graph; pointers to rows are none of their own."""
    made: list[_Node] = []
    sources: dict[Place, list[int]] = {}
    leaves: dict[Any, _Node] = {}
    hidden: set[int] = set()
    for tape in _tapes():
        imported = _collect(tape)
        for i, kind in enumerate(tape.kinds):
            place, op, payload = (tape, i), kind.op, tape.payloads[i]
            given = [sources.get((tape, a), []) for a in tape.arguments(i)]
            below = [number for numbers in given for number in numbers]
            if isinstance(op, Import):
                sources[place] = sources.get(imported[i], []) if i in imported else []
                continue
            if kind.position or isinstance(op, (Unbatch, Rebatch, Unshare)):
                sources[place] = list(dict.fromkeys(below))
                continue
            if op.payload == "parameter":
                if payload not in leaves:
                    leaf = leaves[payload] = _Node(place, len(made), "parameters")
                    leaf.type, leaf.leaf = _PARAMETER, payload
                    leaf.dims = _braces(kind.type.shape, -1, True)
                    made.append(leaf)
                sources[place] = [leaves[payload].number]
                continue
            node = _Node(place, len(made), op.name)
            made.append(node)
            sources[place] = [node.number]
            rows = tape.rows[i]
            node.dims = _braces(kind.type.shape, rows, isinstance(op, Input))
            if isinstance(op, (LookupRows, LookupAt)):
                node.op, node.leaf = "lookup", made[below[0]].leaf if below else None
                node.dims = _braces(kind.type.shape, rows, True)
                node.constants = [_constant(payload)]
                below = below[1:]
            elif op.staged:
                hidden |= set(below) - _fused(node, made, given)
                node.input_dims = _braces(kind.args[0].shape, -1, False) if kind.args else None
                below = node.args
            elif op.payload in ("int", "float", "ints"):
                node.constants = [_constant(payload)]
            node.args = below
    used = {a for node in made for a in (*node.args, *node.before)}
    hidden.update([n.number for n in made if n.type == _PARAMETER])
    return [n for n in made if n.number in used or n.number not in hidden]


def _fused(node: _Node, made: Sequence[_Node], given: list[list[int]]) -> set[int]:
    """A step of a builder, or several: its weights, and the zeros it begins with, are not drawn.

    Returns:
        What is drawn of its arguments.
    """
    node.type = _FUSED
    first = list(dict.fromkeys(given[0])) if given else []
    others = dict.fromkeys([k for numbers in given[1:] for k in numbers if k not in first])
    rest = [k for k in others if made[k].type != _PARAMETER and made[k].op != "input"]
    node.before = [k for k in rest if made[k].type == _FUSED and made[k].op == node.op]
    node.args = first + [k for k in rest if k not in node.before]
    return {*node.args, *node.before}


def _constant(payload: Any) -> str:
    values = np.asarray(payload).reshape(-1)
    return str(values[0]) if values.size == 1 else str(values.tolist())


def _braces(shape: Sequence[int], rows: int, given: bool) -> str:
    text = ",".join(map(str, shape)) + (f"X{rows}" if rows > 1 else "")
    return "{{" + text + "}}" if given else "{" + text + "}"


# DyNet's two pictures


def print_text_graphviz() -> None:
    """Print the graph in Graphviz's language, with a formula for each node."""
    lines = ["digraph G {", "  rankdir=LR;", "  nodesep=.05;"]
    for node in nodes():
        formula = _formula(node, lambda k: f"v{k}")
        lines.append(f'  N{node.number} [label="v{node.number} = {formula}"];')
        lines += [f"  N{k} -> N{node.number};" for k in (*node.args, *node.before)]
    print("\n".join([*lines, "}"]))


def _formula(node: _Node, name: Any) -> str:
    if node.type == _PARAMETER:
        return f"parameters({node.dims[1:-1]}) {node.leaf.name}"
    args = [name(k) for k in (*node.args, *node.before)]
    if node.op == "input":
        return f"constant({node.dims[1:-1]})"
    if node.op == "lookup" and node.leaf is not None:
        args = [node.leaf.name, *args]
    sign = _SIGNS.get(node.op)
    parts = [*args, *node.constants]
    if sign is not None and len(parts) == 2:
        return f"{parts[0]} {sign} {parts[1]}"
    return f"{node.op}({', '.join(parts)})"


def print_graphviz(
    compact: bool = False,
    show_dims: bool = True,
    expression_names: Mapping[Any, str] | None = None,
    lookup_names: Mapping[str, Sequence[Any]] | None = None,
    collapse_birnns: bool = False,
) -> None:
    """Print the graph in Graphviz's language: ``dot -Tpdf`` makes a picture of it.

    Steps of builders, and other fused functions, have a double border; dotted arrows lead from one
    state to the next. It works with or without ``--dynet-viz``, and expressions are computed as
    always.

    Args:
        compact: Whether nodes show their operation only, and not a formula.
        show_dims: Whether they show dimensions: in double braces where they were given.
        expression_names: Names of expressions and parameters to be shown.
        lookup_names: For the name of a table in `expression_names`, the names of its rows.
        collapse_birnns: Whether the two directions of a bidirectional network are one node.
    """
    found = nodes()
    names = _names(expression_names or {})
    merged = _birnns(found) if collapse_birnns else {}
    labels = {n.number: _label(n, compact, names, lookup_names or {}) for n in found}
    lines = ["digraph G {", "  rankdir=BT;"]
    if not compact:
        lines.append("  nodesep=.05;")
    groups: dict[str, list[_Node]] = {}
    for node in found:
        groups.setdefault(merged.get(node.number, f"N{node.number}"), []).append(node)
    kept = {}
    for name, group in groups.items():
        fused = [n for n in group if n.type == _FUSED]
        kept[name] = fused if len(group) > 1 else group
    for style in _STYLES:
        members = [name for name, group in kept.items() if group[0].type == style]
        if members:
            lines.append(f"  node {_STYLES[style]};  {' '.join(members)}")
    dotted: list[str] = []
    for name, group in kept.items():
        label = "\\n".join([labels[n.number] for n in group])
        if show_dims:
            dims = groups[name][-1].dims
            shown = names.get(_key(group[0])) if compact else None
            if shown is not None and shown != label and group[0].type == _REGULAR:
                label = f"{shown}\\n{label}"
            label = f"{dims}\\n{label}"
            if group[0].input_dims is not None:
                label = f"{label}\\n{group[0].input_dims}"
        lines.append(f'  {name} [label="{label}"] ;')
        for mine, arrows in ((lines, "args"), (dotted, "before")):
            style = " [style=dotted]" if arrows == "before" else ""
            for k in dict.fromkeys([k for n in group for k in getattr(n, arrows)]):
                source = merged.get(k, f"N{k}")
                if source != name:
                    mine.append(f"  {source} -> {name}{style};")
    print("\n".join([*lines, *dict.fromkeys(dotted), "}"]))


def _names(given: Mapping[Any, str]) -> dict[Any, str]:
    """Names by what tells nodes apart.

    Raises:
        TypeError: If something has a name that is no expression.
    """
    names: dict[Any, str] = {}
    for e, name in given.items():
        if isinstance(e, (Parameters, LookupParameters)):
            names[e.leaf] = name
        elif isinstance(e, Expression):
            names[(e.node.tape, e.node.index)] = name
        else:
            raise TypeError(f"print_graphviz: got a name of {e!r}, which is no expression")
    return names


def _key(node: _Node) -> Any:
    return node.leaf if node.type == _PARAMETER else node.place


def _label(
    node: _Node, compact: bool, names: Mapping[Any, str], rows: Mapping[str, Sequence[Any]]
) -> str:
    own = names.get(_key(node))
    if node.op == "lookup":
        table = names.get(node.leaf, "")
        item = None
        if table in rows and node.constants[0].isdigit():
            item = f'\\"{rows[table][int(node.constants[0])]}\\"'
        index = node.constants[0]
        if compact:
            return item or (f"{own}[{index}]" if own else f"lookup({index})")
        size = node.leaf.shape[0] if node.leaf is not None else "?"
        return f"{own or f'v{node.number}'} = lookup({table or 'table'}, {item or index}, {size})"
    if compact:
        if node.type == _PARAMETER:
            return own or "parameters"
        text = _SIGNS.get(node.op) or _SHORT.get(node.op, node.op)
        return f"{text}({', '.join(node.constants)})" if node.constants else text
    by_number = {n: f"v{n}" for n in (*node.args, *node.before)}
    return f"{own or f'v{node.number}'} = {_formula(node, by_number.__getitem__)}"


def _birnns(found: Sequence[_Node]) -> dict[int, str]:
    """New names of the nodes that become one: states with one input that meet in concatenations."""
    consumers: dict[int, list[_Node]] = {}
    for node in found:
        for k in node.args:
            consumers.setdefault(k, []).append(node)
    groups: dict[Any, list[_Node]] = {}
    for node in found:
        joined = [n for n in consumers.get(node.number, []) if n.op == "concatenate"]
        if node.type == _FUSED and joined and len(joined) == len(consumers[node.number]):
            key = (tuple(sorted(node.args)), tuple([n.number for n in joined]))
            groups.setdefault(key, []).append(node)
    merged: dict[int, str] = {}
    for (_, joined_numbers), group in groups.items():
        if len(group) > 1:
            name = "".join([f"N{n.number}" for n in group])
            merged.update(dict.fromkeys([*(n.number for n in group), *joined_numbers], name))
    return merged


# Numbers


def dump_cg(
    filename: str = "",
    show_values: bool = True,
    show_gradients: bool = True,
    nan_check_only: bool = False,
) -> None:
    """Write what was computed: the value of each node, and its gradient after `backward`.

    Args:
        filename: A file to write to; empty for standard output.
        show_values: Whether to write values.
        show_gradients: Whether to write gradients.
        nan_check_only: Whether to write only if they are finite: "valid" or "invalid".
    """
    lines = []
    for node in nodes():
        tape, i = node.place
        x: Any = node.leaf if node.type == _PARAMETER else handle(tape, i)
        if not engine.evaluated(x):
            continue
        lines.append(f"Node {node.number}")
        if show_values:
            lines += _numbers("Value", np.asarray(reading.value(x)), x.batch, nan_check_only)
        if show_gradients and STATE.differentiated:
            lines += _numbers("Gradient", _gradient(node, x), x.batch, nan_check_only)
    text = "\n".join(lines) + "\n"
    if filename:
        with open(filename, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        print(text, end="")


def _gradient(node: _Node, x: Any) -> Array:
    zeros = np.zeros(x.shape if x.batch is None else (x.batch, *x.shape))
    if node.type == _PARAMETER:
        return np.asarray(x.gradient()) if x.has_gradient() else zeros
    try:
        return np.asarray(x.gradient())
    except GradientError as error:
        if "no backward reached" in str(error) or "left out" in str(error):
            return zeros
        raise


def _numbers(role: str, array: Array, batch: int | None, check_only: bool) -> list[str]:
    if check_only:
        return [f"{role}: {'valid' if np.isfinite(array).all() else 'invalid'}"]
    lines = [f"{role}: "]
    for example in array if batch is not None else [array]:
        columns = np.reshape(example, (example.shape[0] if example.ndim else 1, -1), order="F")
        lines += [" ".join([f"{number:g}" for number in row]) for row in columns.tolist()]
    return lines
