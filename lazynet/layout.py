"""Where every row lives: from a schedule to arenas, row numbers and index arrays.

One arena per dtype and row width. Rows are laid out by kind, then by batch, so that all rows of a
kind are contiguous (weight gradients take them in one piece). An argument of a batch is then a
slice of an arena, one `take`, a single row that all share, or a shared value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lazynet.aliases import resolve_aliases
from lazynet.backend import add_rows
from lazynet.collect import Graph
from lazynet.kinds import HALVES_MET, Array, Kind, Op, Shape, Type
from lazynet.schedule import Schedule, schedule, split_by_shared
from lazynet.tape import ranges, stable_order

if TYPE_CHECKING:
    from mypy_extensions import i64

SLICE: Final = 0
TAKE: Final = 1
SAME: Final = 2
SHARED: Final = 3


class Argument:
    """Where a batch finds one of its arguments.

    Attributes:
        mode: SLICE (rows start:stop), TAKE (rows `index`), SAME (row `start` for every row of the
            batch), SHARED (the value of node `start`).
        arena, start, stop, index: See `mode`.
        shape: Shape of one row.
        rows: Number of rows.
        per_node: In a segmented batch, whether it has one row for each node, not a segment.
    """

    __slots__ = (
        "arena",
        "index",
        "mode",
        "per_node",
        "rows",
        "shape",
        "start",
        "stop",
    )

    def __init__(
        self, mode: int, arena: int, start: int, stop: int, index: Array | None, shape: Shape
    ) -> None:
        self.mode = mode
        self.arena = arena
        self.start = start
        self.stop = stop
        self.index = index
        self.shape = shape
        self.rows = len(index) if index is not None else stop - start
        self.per_node = False

    def scatter(self, target: Array, values: Array) -> None:
        """``target[index[k]] += values[k]`` for every k, repeated rows included."""
        assert self.index is not None
        add_rows(target, self.index, values)

    def indices(self) -> Array:
        """The rows as an index array."""
        if self.index is not None:
            return self.index
        return np.arange(self.start, self.stop)


class Step:
    """One batch, ready to run.

    Attributes:
        kind, op: What to run.
        nodes: The nodes, by number.
        rows: Rows of the result.
        counts: Rows of each node; None where each has one.
        outputs: (arena, start, stop, shape) of each result.
        args: Where the arguments are.
        shared: Per argument, whether it comes without row axis.
        segments: Offsets of the nodes' argument rows, for segmented and n-ary ops.
    """

    __slots__ = ("args", "counts", "kind", "nodes", "op", "outputs", "rows", "segments", "shared")

    def __init__(self, kind: Kind, nodes: Array) -> None:
        self.kind = kind
        self.op: Op = kind.op
        self.nodes = nodes
        self.rows = 0
        self.counts: Array | None = None
        self.outputs: list[tuple[int, int, int, Shape]] = []
        self.args: list[Argument] = []
        self.shared: tuple[bool, ...] = ()
        self.segments: Array | None = None


class Layout:
    """Everything an evaluation of a graph of this structure needs; pure data.

    Attributes:
        steps: Batches in order.
        shared: Shared nodes, computed before the steps: (node, kind, arguments).
        arenas: (dtype, width, rows) of each arena.
        arena: Per node, its arena (-1 for shared values).
        first: Per node, its first row; for an alias of several nodes see `rebatched`.
        rebatched: Rows of aliases of several nodes.
        kinds, code, rows: As in the graph.
        runs: Batches that run together, in order (see `chains`); None: not looked for yet.
        stages: Its staged kinds (see `stages`); None: likewise.
        half: Whether anything in it is stored in 16 bits.
        gathers: For ops with shared arguments, the rows of their other arguments in all batches
            of a kind: by the numbers of the batches and the position; None: not looked for yet.
        plan: The schedule it was made from.
    """

    __slots__ = (
        "arena",
        "arenas",
        "code",
        "first",
        "gathers",
        "half",
        "kinds",
        "plan",
        "rebatched",
        "rows",
        "runs",
        "shared",
        "stages",
        "steps",
    )
    arena: Array
    code: Array
    first: Array
    kinds: list[Kind]
    plan: Schedule
    rows: Array

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.half = False
        self.shared: list[tuple[int, Kind, list[int]]] = []
        self.arenas: list[tuple[Any, int, int]] = []
        self.rebatched: dict[int, Array] = {}
        self.runs: list[Any] | None = None
        self.stages: dict[Any, Any] | None = None
        self.gathers: dict[Any, Array] | None = None

    def lower_bound(self) -> int:
        """No plan has fewer batches."""
        return self.plan.lower_bound()

    def node_rows(self, i: int) -> Array:
        """Rows of node i in its arena."""
        found = self.rebatched.get(i)
        if found is not None:
            return found
        first = int(self.first[i])
        rows = int(self.rows[i])
        return np.arange(first, first + (1 if rows == -1 else rows))

    def rows_of(self, numbers: Array) -> Array:
        """Rows of several nodes, one after the other."""
        if not self.rebatched:
            first = self.first[numbers]
            rows = self.rows[numbers]
            return first if (rows == -1).all() else ranges(first, np.where(rows == -1, 1, rows))
        return np.concatenate([self.node_rows(i) for i in numbers.tolist()])

    def type(self, i: int) -> Type:
        """Type of node i."""
        return self.kinds[int(self.code[i])].type


def lay_out(graph: Graph, plan: Schedule, chains: bool = True) -> Layout:
    """Assign rows and build the index arrays of every batch; without `chains` none run together."""
    code, starts, args, rows = graph.arrays()
    layout = Layout()
    layout.kinds = graph.kinds
    layout.code = code
    layout.rows = rows
    layout.plan = plan
    if HALVES_MET:
        layout.half = any([t.work is not t.dtype for k in graph.kinds for t in k.outputs])
    for i in plan.shared:
        layout.shared.append((i, graph.kinds[code[i]], args[starts[i] : starts[i + 1]].tolist()))
    bounds = split_by_shared(graph, plan, code, starts, args)
    _assign_rows(layout, graph, plan, bounds, starts, args)
    _connect(layout, graph, starts, args)
    if not chains:
        layout.runs = []
    return layout


def _assign_rows(
    layout: Layout, graph: Graph, plan: Schedule, bounds: Array, starts: Array, args: Array
) -> None:
    kinds, code, rows = layout.kinds, layout.code, layout.rows
    n = len(code)
    single = bool((rows == -1).all())
    count = np.ones(n, np.int64) if single else np.where(rows == -1, 1, rows)
    first = layout.first = np.zeros(n, np.int64)
    places, arenas = _places(kinds)
    sizes = [0] * len(arenas)
    arena_of_code = np.array([p[0] for p in places], np.int64)
    layout.arena = arena_of_code[code] if n else np.zeros(0, np.int64)
    arena_of_externals = layout.arena[: len(graph.externals)]
    for a in range(len(arenas)) if graph.externals else ():
        chosen = np.flatnonzero(arena_of_externals == a)
        ends = np.cumsum(count[chosen])
        first[chosen] = ends - count[chosen]
        sizes[a] = int(ends[-1]) if len(ends) else 0

    order = plan.order
    before = np.concatenate([[0], np.cumsum(count[order])])
    batch_rows = before[bounds[1:]] - before[bounds[:-1]]
    starts_of = _output_starts(places, code[order[bounds[:-1]]], batch_rows, sizes)
    lengths = np.diff(bounds)
    offset = before[:-1] - np.repeat(before[bounds[:-1]], lengths)
    batch_of = np.repeat(np.arange(len(lengths)), lengths)
    first[order] = starts_of[0][batch_of] + offset
    if plan.alias.any():
        position = np.array([k.position for k in kinds], np.int64)[code]
        place = np.zeros(n, np.int64)
        place[order] = np.arange(len(order))
        for p in range(1, len(starts_of)):
            further = np.flatnonzero(position == p)
            at = place[plan.pointer[further]]
            first[further] = starts_of[p][batch_of[at]] + offset[at]
        resolve_aliases(layout, graph, plan, position, starts, args)
    layout.arenas = [(d, w, sizes[a]) for a, (d, w) in enumerate(arenas)]
    _make_steps(layout, order, bounds, batch_rows, starts_of, None if single else count, places)


def _places(kinds: list[Kind]) -> tuple[list[list[int]], list[tuple[Any, int]]]:
    """Per kind the arena of its own result and those of all results; what each arena holds."""
    found: dict[Type, int] = {}  # types are few, and hash faster than dtypes
    keys: dict[tuple[Any, int], int] = {}

    def arena(t: Type) -> int:
        if t.shared:
            return -1
        place = found.get(t, -1)
        if place == -1:
            place = found[t] = keys.setdefault((t.dtype, t.width), len(keys))
        return place

    own = [arena(k.type) for k in kinds]
    return [[a, *[arena(t) for t in k.outputs]] for a, k in zip(own, kinds)], list(keys)


def _output_starts(
    places: list[list[int]], batch_code: Array, batch_rows: Array, sizes: list[int]
) -> list[Array]:
    """First row of every batch in its arena, for each result; `sizes` grows accordingly.

    Rows of a kind lie together, batch after batch.
    """
    batches = len(batch_code)
    by_kind = stable_order(batch_code)
    ordered = batch_code[by_kind]
    ends = np.concatenate([[0], np.cumsum(batch_rows[by_kind])])
    heads = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[:batches])
    lengths = np.diff(heads, append=batches)
    codes: list[int] = ordered[heads].tolist()
    edges: list[int] = ends[np.append(heads, batches)].tolist()
    result = []
    for position in range(1, max([len(p) for p in places], default=2)):
        shifts = []
        for g, c in enumerate(codes):
            if position < len(places[c]):
                arena = places[c][position]
                shifts.append(sizes[arena] - edges[g])
                sizes[arena] += edges[g + 1] - edges[g]
            else:
                shifts.append(0)
        begin = np.empty(batches, np.int64)
        begin[by_kind] = ends[:-1] + np.repeat(np.array(shifts, np.int64), lengths)
        result.append(begin)
    return result


def _make_steps(
    layout: Layout,
    order: Array,
    bounds: Array,
    batch_rows: Array,
    starts_of: list[Array],
    count: Array | None,
    places: list[list[int]],
) -> None:
    """The batches as steps, without their arguments; `count` is None where all rows are single."""
    edges: list[int] = bounds.tolist()
    batched = [False] * (len(edges) - 1)
    if count is not None:
        before = np.concatenate([[0], np.cumsum(layout.rows[order] != -1)])[bounds]
        batched = (before[1:] > before[:-1]).tolist()
    rows = batch_rows.tolist()
    begins = [b.tolist() for b in starts_of]
    codes: list[int] = layout.code[order[bounds[:-1]]].tolist()
    kinds, steps = layout.kinds, layout.steps
    for b, c in enumerate(codes):
        kind = kinds[c]
        step = Step(kind, order[edges[b] : edges[b + 1]])
        count_of = step.rows = rows[b]
        if count is not None and batched[b]:
            step.counts = count[step.nodes]
        arenas = places[c]
        for k, t in enumerate(kind.outputs):
            begin = begins[k][b]
            step.outputs.append((arenas[k + 1], begin, begin + count_of, t.shape))
        steps.append(step)


def _connect(layout: Layout, graph: Graph, starts: Array, args: Array) -> None:
    """Index arrays for the arguments of all batches, made in one sweep."""
    plain: list[Step] = []
    batched: list[Step] = []
    segmented: list[Step] = []
    reductions: list[Step] = []
    sums: list[Step] = []
    for step in layout.steps:
        if step.op.nary:
            if step.op.points:
                sums.append(step)
            elif step.counts is None:
                reductions.append(step)
            else:
                _connect_nary(layout, step, starts, args)
        elif step.op.segmented:
            segmented.append(step)
        elif step.kind.args:
            (plain if step.counts is None else batched).append(step)
    if reductions:
        _connect_reductions(layout, reductions, starts, args)
    if plain:
        _connect_plain(layout, plain, starts, args, None)
    if batched or segmented or sums:
        table = _row_table(layout)
        if batched:
            _connect_plain(layout, batched, starts, args, table)
        for step in segmented:
            _connect_segmented(layout, step, starts, args, table)
        if sums:
            lengths = dict(zip(graph.takes, graph.taken))
            for step in sums:
                _connect_lengths(layout, step, lengths, args[starts[step.nodes]], table)


def _connect_plain(
    layout: Layout,
    steps: list[Step],
    starts: Array,
    args: Array,
    table: tuple[Array, Array] | None,
) -> None:
    """One slot per batch and argument position; slots lie behind one another.

    `table` is given for nodes of which some have several rows (see `_row_table`).
    """
    sizes = np.array([len(s.nodes) for s in steps], np.int64)
    arity = np.array([len(s.kind.args) for s in steps], np.int64)
    nodes = np.concatenate([s.nodes for s in steps])
    node_start = np.cumsum(sizes) - sizes
    alike = np.array([t.shared for s in steps for t in s.kind.args], np.int64) != 0
    slot_size = np.where(alike, 1, np.repeat(sizes, arity))  # of shared values one will do
    slot_step = np.repeat(np.arange(len(steps)), arity)
    slot_position = ranges(np.zeros(len(steps), np.int64), arity)
    within = ranges(node_start[slot_step], slot_size)
    users = nodes.take(within)
    sources = args.take(starts.take(users) + np.repeat(slot_position, slot_size))
    ends = np.cumsum(slot_size)
    if table is None:
        index = layout.first.take(sources)
    else:
        user_rows = layout.rows[users]
        lengths = np.where(user_rows == -1, 1, user_rows)
        stride = (layout.rows[sources] != -1).astype(np.int64)
        steps_within = ranges(np.zeros(len(lengths), np.int64), lengths)
        flat, first = table
        index = flat[np.repeat(first[sources], lengths) + steps_within * np.repeat(stride, lengths)]
        ends = np.cumsum(lengths)[ends - 1]
    step_before = np.concatenate([[0], np.cumsum(np.diff(index) != 1)]) if len(index) else index
    same_before = np.concatenate([[0], np.cumsum(np.diff(index) != 0)]) if len(index) else index
    begins = np.concatenate([[0], ends[:-1]])
    filled = ends > begins
    last = np.where(filled, ends - 1, 0)
    head = np.where(filled, begins, 0)
    if len(index):
        broken = (step_before[last] != step_before[head]).tobytes()
        varied = (same_before[last] != same_before[head]).tobytes()
        heads: list[int] = index[head].tolist()
    else:
        broken = varied = bytes(len(ends))
        heads = [0] * len(ends)
    firsts = sources.take(np.cumsum(slot_size) - slot_size)
    first_source: list[int] = firsts.tolist()
    arenas: list[int] = layout.arena.take(firsts).tolist()
    end_list: list[int] = ends.tolist()
    # What is made here stays, and every object of it is one for the garbage collector to visit.
    alike_values: dict[int, Argument] = {}
    traits: dict[Kind, tuple[bool, tuple[bool, ...]]] = {}
    slot: i64 = 0
    b = 0
    for step in steps:
        kind = step.kind
        trait = traits.get(kind)
        if trait is None:
            shares = kind.op.shares
            pattern = tuple([shares and t.shared != 0 for t in kind.args])
            trait = traits[kind] = (shares and not kind.op.staged, pattern)
        alike_rows = False
        arguments = step.args
        for t in kind.args:
            e = end_list[slot]
            if t.shared:
                source = first_source[slot]
                argument = alike_values.get(source)
                if argument is None:
                    argument = Argument(SHARED, -1, source, 0, None, t.shape)
                    alike_values[source] = argument
            elif not broken[slot]:
                start = heads[slot]
                argument = Argument(SLICE, arenas[slot], start, start + e - b, None, t.shape)
            elif not varied[slot]:
                start = heads[slot]
                argument = Argument(SAME, arenas[slot], start, start + 1, None, t.shape)
                alike_rows = True
            else:
                argument = Argument(TAKE, arenas[slot], 0, 0, index[b:e], t.shape)
            arguments.append(argument)
            slot += 1
            b = e
        same, pattern = trait
        if same and alike_rows:
            pattern = tuple([p or a.mode == SAME for p, a in zip(pattern, arguments)])
        step.shared = pattern


def _row_table(layout: Layout) -> tuple[Array, Array]:
    """Rows of every node behind one another, and where each node's begin: for aliases."""
    count = np.where(layout.rows == -1, 1, layout.rows)
    count = np.where(layout.arena < 0, 0, count)
    begin = np.concatenate([[0], np.cumsum(count)])[:-1]
    flat = ranges(layout.first, count)
    for i, rows in layout.rebatched.items():
        flat[begin[i] : begin[i] + len(rows)] = rows
    return flat, begin


def _pointed(layout: Layout, arena: int, parts: list[Array], shape: Shape) -> Argument:
    index = np.concatenate(parts) if parts else np.zeros(0, np.int64)
    if len(index) and index[-1] - index[0] == len(index) - 1 and (np.diff(index) == 1).all():
        return Argument(SLICE, arena, int(index[0]), int(index[0]) + len(index), None, shape)
    return Argument(TAKE, arena, 0, 0, index, shape)


def _connect_segmented(
    layout: Layout, step: Step, starts: Array, args: Array, table: tuple[Array, Array]
) -> None:
    step.shared = tuple([t.shared != 0 for t in step.kind.args])
    flat, first = table
    for position, t in enumerate(step.kind.args):
        sources = args[starts[step.nodes] + position]
        source = int(sources[0])
        if t.shared:
            step.args.append(Argument(SHARED, -1, source, 0, None, t.shape))
            continue
        rows = layout.rows[sources]
        lengths = np.where(rows == -1, 1, rows)
        if position == 0:
            step.segments = np.concatenate([[0], np.cumsum(lengths)])
        index = flat[ranges(first[sources], lengths)]
        argument = _pointed(layout, int(layout.arena[source]), [index], t.shape)
        argument.per_node = position > 0 and int(rows[0]) == -1
        step.args.append(argument)


def _connect_lengths(
    layout: Layout,
    step: Step,
    lengths: dict[int, Any],
    sources: Array,
    table: tuple[Array, Array],
) -> None:
    """An op that says how many rows of its batch go into each row of the result."""
    given = [n for node in step.nodes.tolist() for n in lengths[node]]
    step.segments = np.concatenate([[0], np.cumsum(np.array(given, np.int64))])
    step.shared = (False,)
    flat, first = table
    rows = layout.rows[sources]
    index = flat[ranges(first[sources], np.where(rows == -1, 1, rows))]
    arena, shape = int(layout.arena[int(sources[0])]), step.kind.args[0].shape
    step.args.append(_pointed(layout, arena, [index], shape))


def _connect_reductions(layout: Layout, steps: list[Step], starts: Array, args: Array) -> None:
    """N-ary ops on single rows."""
    nodes = np.concatenate([s.nodes for s in steps])
    lengths = starts[nodes + 1] - starts[nodes]
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    sources = args.take(ranges(starts[nodes], lengths))
    index = layout.first.take(sources)
    breaks = np.concatenate([[0], np.cumsum(np.diff(index) != 1)])
    node = 0
    for step in steps:
        segments = bounds[node : node + len(step.nodes) + 1]
        node += len(step.nodes)
        a, b = int(segments[0]), int(segments[-1])
        arena, shape = int(layout.arena[sources[a]]), step.kind.args[0].shape
        if breaks[a] == breaks[b - 1]:
            start = int(index[a])
            argument = Argument(SLICE, arena, start, start + b - a, None, shape)
        else:
            argument = Argument(TAKE, arena, 0, 0, index[a:b], shape)
        step.shared = (False,)
        step.segments = segments - a
        step.args.append(argument)


def _connect_nary(layout: Layout, step: Step, starts: Array, args: Array) -> None:
    """An n-ary op on batches."""
    step.shared = (False,)
    parts = []
    arities = []
    for i in step.nodes.tolist():
        rows = int(layout.rows[i])
        count = 1 if rows == -1 else rows
        own = args[starts[i] : starts[i + 1]].tolist()
        columns = [np.broadcast_to(layout.node_rows(s), (count,)) for s in own]
        parts.append(np.stack(columns, axis=1).reshape(-1))
        arities += [len(own)] * count
    arena = int(layout.arena[int(args[starts[step.nodes[0]]])])
    step.segments = np.concatenate([[0], np.cumsum(arities)]).astype(np.int64)
    step.args.append(_pointed(layout, arena, parts, step.kind.args[0].shape))


_cache: dict[Any, Layout] = {}
_CACHED_NODES = 256


def layout_of(graph: Graph, autobatch: bool, profile: Any = None) -> Layout:
    """The layout of a graph; those of small graphs are remembered by structure.

    Args:
        graph: The graph.
        autobatch: Whether nodes are batched.
        profile: What times it (`recorder.Recorder`); told when the schedule is made.
    """
    if len(graph) > _CACHED_NODES:
        return _new_layout(graph, autobatch, profile)
    key = (graph.key(), autobatch)
    found = _cache.get(key)
    if found is None:
        if len(_cache) >= 1024:
            _cache.clear()
        found = _cache[key] = _new_layout(graph, autobatch, profile)
    return found


def _new_layout(graph: Graph, autobatch: bool, profile: Any) -> Layout:
    plan = schedule(graph, autobatch)
    if profile is not None:
        profile.scheduled()
    return lay_out(graph, plan, autobatch)
