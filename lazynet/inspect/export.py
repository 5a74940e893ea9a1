"""`ln.to_networkx` and `ln.to_dot`: graphs for other tools."""

from __future__ import annotations

from typing import Any

from lazynet.asked import expressions_of
from lazynet.errors import MissingPackageError
from lazynet.inspect.labels import details_of, shape_of, title_of
from lazynet.inspect.view import view_of

_SHAPES = {"input": "parallelogram", "parameter": "ellipse", "op": "box"}
_EVERYTHING = 10**9


def to_networkx(expression: Any) -> Any:
    """The graph of an expression as a `networkx.MultiDiGraph`; nothing is computed for it.

    Args:
        expression: An expression or parameter, or a list of them.

    Returns:
        A graph whose nodes are numbered from 0, arguments first. A node's attributes are what is
        known of it: "op", "role" ("input", "parameter" or "op"), "name", "formula", "shape",
        "batch", "dtype", "payload", "line", "line_is_exact", "kind", "output", "first",
        "evaluated", "value", "gradient" (arrays of at most 64 elements, else None),
        "batch_number", "depth", and "root", whether it was asked for. An edge leads from an
        argument to what uses it; its "position" is which argument it is. The graph has the
        attributes "batches" and "lower_bound".

    Raises:
        ArgumentError: If something is no expression.
        MissingPackageError: Without networkx.

    >>> import lazynet as ln
    >>> x = ln.constant([1.0, 2.0])
    >>> graph = ln.to_networkx(x * ln.exp(x))
    >>> [graph.nodes[v]["op"] for v in graph]
    ['input', 'exp', 'multiply']
    """
    roots = expressions_of(expression, "to_networkx")
    try:
        import networkx
    except ImportError as error:
        raise MissingPackageError(
            "to_networkx: networkx is not installed; pip install 'lazynet[viz]', or take the "
            "graph as text by ln.to_dot"
        ) from error
    view = view_of(roots, limit=_EVERYTHING)
    graph = networkx.MultiDiGraph(
        batches=[tuple(b.nodes) for b in view.batches], lower_bound=view.lower_bound
    )
    wanted = set(view.roots)
    for node in view.nodes:
        facts = {name: getattr(node, name) for name in _FACTS}
        graph.add_node(node.number, **facts, root=node.number in wanted)
    for node in view.nodes:
        for position, a in enumerate(node.arguments):
            graph.add_edge(a, node.number, position=position)
    return graph


_FACTS = (
    "op role name formula shape batch dtype payload line line_is_exact kind output first evaluated"
    " value gradient batch_number depth"
).split()


def to_dot(expression: Any) -> str:
    r"""The graph of an expression in the language of Graphviz; nothing is computed for it.

    Args:
        expression: An expression or parameter, or a list of them.

    Returns:
        The text of a ``digraph``. Nodes are named v0, v1, ..., arguments first; parameters are
        ellipses, inputs parallelograms, and what was asked for has a thick border.

    Raises:
        ArgumentError: If something is no expression.

    >>> import lazynet as ln
    >>> print(ln.to_dot(ln.exp(ln.constant([1.0, 2.0]))))
    digraph lazynet {
      node [fontname="Helvetica"];
      v0 [label="input\n(2)", shape=parallelogram, tooltip="v0: input\n..."];
      v1 [label="exp\n(2)", shape=box, penwidth=3, tooltip="v1: exp\nv1 = e^v0\n..."];
      v0 -> v1;
    }
    """
    view = view_of(expressions_of(expression, "to_dot"), limit=_EVERYTHING)
    wanted = set(view.roots)
    lines = ["digraph lazynet {", '  node [fontname="Helvetica"];']
    for node in view.nodes:
        label = "\n".join([title_of(node), shape_of(node), *([node.payload] * bool(node.payload))])
        thick = ", penwidth=3" if node.number in wanted else ""
        lines.append(
            f"  v{node.number} [label={quoted(label)}, shape={_SHAPES[node.role]}{thick}, "
            f"tooltip={quoted(details_of(node, view))}];"
        )
    for node in view.nodes:
        lines += [f"  v{a} -> v{node.number};" for a in node.arguments]
    return "\n".join([*lines, "}"])


def quoted(text: str) -> str:
    """A string in the language of Graphviz, which knows the backslash in escapes of its own."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
