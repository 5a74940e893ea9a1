"""Where the rows of nodes lie that only point at rows of others: picks, unbatch, rebatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lazynet.collect import Graph
from lazynet.kinds import Array
from lazynet.schedule import Schedule
from lazynet.tape import ranges

if TYPE_CHECKING:
    from lazynet.layout import Layout


def resolve_aliases(
    layout: Layout, graph: Graph, plan: Schedule, position: Array, starts: Array, args: Array
) -> None:
    """Rows of aliases, in order, so that an alias of an alias finds it resolved."""
    first, kinds, code = layout.first, layout.kinds, layout.code
    later = plan.alias & (position == 0)
    later[: len(graph.externals)] = False
    row_of = np.zeros(len(code), np.int64)
    if graph.picks:
        picks = np.array(graph.picks, np.int64)
        row_of[picks] = graph.picked
        sources = args[starts[picks]]
        direct = ~later[sources]
        picks, sources = picks[direct], sources[direct]
        first[picks] = first[sources] + row_of[picks]
        later[picks] = False
    taken = dict(zip(graph.takes, graph.taken))
    several = np.array([k.op.nary for k in kinds], bool)[code] & later
    if several.any():
        _resolve_many(layout, np.flatnonzero(several), later, starts, args)
    for i in np.flatnonzero(later).tolist():
        if i in taken:
            layout.rebatched[i] = layout.node_rows(int(args[starts[i]]))[list(taken[i])]
            first[i] = -1
        elif kinds[int(code[i])].op.nary:
            parts = [layout.node_rows(s) for s in args[starts[i] : starts[i + 1]].tolist()]
            layout.rebatched[i] = np.concatenate(parts)
            first[i] = -1
        else:
            source = int(args[starts[i]])
            row = int(row_of[i])
            rebatched = layout.rebatched.get(source)
            first[i] = first[source] + row if rebatched is None else rebatched[row]


def _resolve_many(layout: Layout, nodes: Array, later: Array, starts: Array, args: Array) -> None:
    """Rows of those aliases of several nodes whose sources are single rows known already."""
    lengths = starts[nodes + 1] - starts[nodes]
    sources = args[ranges(starts[nodes], lengths)]
    unknown = np.concatenate([[0], np.cumsum(later[sources] | (layout.rows[sources] != -1))])
    ends = np.cumsum(lengths)
    known = unknown[ends] == unknown[ends - lengths]
    rows = layout.first[sources]
    nodes, lengths, ends = nodes[known], lengths[known], ends[known]
    later[nodes] = False
    layout.first[nodes] = -1
    for i, begin, end in zip(nodes.tolist(), (ends - lengths).tolist(), ends.tolist()):
        layout.rebatched[i] = rows[begin:end]
