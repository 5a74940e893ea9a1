"""Kinds that would be one but for parameters, attributes, shapes or dtypes.

Kinds that differ in one thing only are merged for a trial, and the schedule is made anew: the
batches that this saves are what the difference costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from lazynet.fuse.fused import Fused
from lazynet.inspect.finding import FEWEST, Finding, called, some, worth
from lazynet.inspect.runs import BATCH_SECONDS, Run, is_given
from lazynet.inspect.source import short, span
from lazynet.kinds import FLOATS, Kind
from lazynet.ops.linalg import Affine, Matmul
from lazynet.plan import plural

_TRIALS: Final = 8
"""Schedules made anew for one run, at most."""

Groups = list[list[int]]


def differences(run: Run) -> list[Finding]:
    """Kinds that would be one but for parameters, attributes, shapes or dtypes."""
    codes = [int(c) for c in np.flatnonzero(run.kind_nodes)]
    tried: list[tuple[int, str, Groups]] = []

    def add(reason: str, groups: Groups) -> None:
        batches = run.kind_batches
        most = sum(int(batches[g].sum() - batches[g].max()) for g in groups)
        if worth(run, most):
            tried.append((most, reason, groups))

    add("parameters", _private(run, _grouped(run, codes, _but_parameters)))
    add("dtypes", [g for g in _grouped(run, codes, _but_dtype) if _dtypes_of(run, g)])
    add("shapes", by_shape(run, codes))
    for group in _grouped(run, codes, _but_attributes):
        add("attributes", [group])
    tried.sort(key=lambda t: -t[0])
    found = []
    for _, reason, groups in tried[:_TRIALS]:
        saved = run.batches - run.batches_if(groups)
        if saved >= FEWEST:
            found.append(_WORDS[reason](run, _ranked(run, groups), saved))
    return found


def _grouped(run: Run, codes: list[int], key: Callable[[Kind], Any]) -> Groups:
    groups: dict[Any, list[int]] = {}
    for c in codes:
        found = key(run.kinds[c])
        if found is not None:
            groups.setdefault(found, []).append(c)
    return [g for g in groups.values() if len(g) > 1]


def _ranked(run: Run, groups: Groups) -> Groups:
    """Those that can save most first; of equal ones, those recorded first."""
    batches, first = run.kind_batches, run.kind_first
    return sorted(groups, key=lambda g: (-int(batches[g].sum() - batches[g].max()), first[g].min()))


def _operation(kind: Kind) -> Any:
    """The op with its attributes; of a fused function, its name: others have other programs."""
    return (type(kind.op), kind.op.name) if isinstance(kind.op, Fused) else kind.op


def _but_parameters(kind: Kind) -> Any:
    if not any(t.shared for t in kind.args):
        return None
    return (_operation(kind), tuple([(t.shape, t.dtype, t.shared != 0) for t in kind.args]))


def _but_attributes(kind: Kind) -> Any:
    if isinstance(kind.op, Fused) or not is_dataclass(kind.op):
        return None
    return (type(kind.op), tuple([t.id for t in kind.args]))


def _but_dtype(kind: Kind) -> Any:
    """By dtype alone: parameters of another dtype are other parameters."""
    types = kind.args or kind.outputs
    if any(t.dtype not in FLOATS for t in types):
        return None
    return (_operation(kind), tuple([(t.shape, t.shared != 0) for t in types]))


def _dtypes_of(run: Run, group: list[int]) -> bool:
    return len({run.kinds[c].type.dtype for c in group}) > 1


def _private(run: Run, groups: Groups) -> Groups:
    """Parameters of single examples: more of them than each has nodes. Layers have many nodes."""
    return [g for g in groups if len(g) > 2 and len(g) ** 2 >= int(run.kind_nodes[g].sum())]


def _shapes(run: Run, code: int) -> tuple[Any, ...]:
    kind = run.kinds[code]
    return tuple([t.shape for t in kind.args or kind.outputs])


def by_shape(run: Run, codes: list[int]) -> Groups:
    """Kinds of one operation on three shapes or more, where its attributes follow from these."""
    families: dict[Any, list[int]] = {}
    for c in codes:
        kind = run.kinds[c]
        if isinstance(kind.op, Fused):
            continue
        pattern: list[Any] = []
        for t in kind.args or kind.outputs:
            entry = (len(t.shape), t.dtype, t.shared)
            if not pattern or pattern[-1] != entry:  # a list of any length
                pattern.append(entry)
        families.setdefault((type(kind.op), tuple(pattern)), []).append(c)
    groups: Groups = []
    for family in families.values():
        if len({_shapes(run, c) for c in family}) == len(family):
            groups.append(family)
            continue
        parts: dict[Any, list[int]] = {}
        for c in family:
            parts.setdefault(_numbers(run.kinds[c]), []).append(c)
        groups += parts.values()
    return [g for g in groups if len({_shapes(run, c) for c in g}) > 2]


def _numbers(kind: Kind) -> tuple[Any, ...]:
    """The attributes that are no shapes."""
    if not is_dataclass(kind.op):
        return ()
    values = [getattr(kind.op, f.name) for f in fields(kind.op)]
    return tuple([v for v in values if not isinstance(v, tuple)])


def _likewise(run: Run, groups: Groups) -> str:
    """The other operations that the same happened to, without those that are only given."""
    seen: dict[str, None] = {}
    for group in groups:
        kind = run.kinds[group[0]]
        if not is_given(kind):
            seen.setdefault(f"{kind.op.name} (`{short(run.line_of(group[0]))}`)")
    if not seen:
        return ""
    names = list(seen)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" Likewise {', '.join(names[:3])}{more}."


def _first(run: Run, groups: Groups) -> tuple[list[int], Groups]:
    """The group to tell of, and the others: rather one that is computed than a constant."""
    for k, group in enumerate(groups):
        if not is_given(run.kinds[group[0]]):
            return group, groups[:k] + groups[k + 1 :]
    return groups[0], groups[1:]


def _lines(run: Run, groups: Groups) -> tuple[str, ...]:
    return tuple(dict.fromkeys(run.line_of(c) for group in groups for c in group))


def _parameters(run: Run, groups: Groups, saved: int) -> Finding:
    group, others = _first(run, groups)
    kinds = [run.kinds[c] for c in group]
    first = kinds[0]
    position = next(p for p in range(len(first.args)) if len({k.args[p].shared for k in kinds}) > 1)
    names = [run.names.get(k.args[position].shared, "") for k in kinds]
    shown = some([n for n in names if n])
    made = any("(" in n for n in names)
    shape = first.args[position].shape
    each = f"{shape[0]}" if len(shape) == 1 else f"{shape}"
    nodes = int(run.kind_nodes[group].sum())
    text = (
        f"`{short(run.line_of(group[0]))}`: {nodes:,} {called(first)} with "
        f"{len({k.args[position].shared for k in kinds}):,} different {_role(first, position)}"
        f"{f' ({shown})' if shown else ''}, a batch for each.{_likewise(run, others)}"
    )
    remedy = (
        "Share one parameter; or, if each example needs its own, keep them in one table, "
        f"`table = model.lookup({len(group)}, {each})`, and use `table[i]`: an index is data, so "
        "all are one batch."
    )
    if made:
        remedy += " What is computed from parameters alone counts as a parameter."
    return Finding("parameters", text, remedy, _lines(run, groups), saved, saved * BATCH_SECONDS)


def _role(kind: Kind, position: int) -> str:
    """What an argument is called."""
    if isinstance(kind.op, Matmul):
        form = "matrices" if len(kind.args[position].shape) == 2 else "vectors"
        return f"{('left', 'right')[position]} {form}"
    if isinstance(kind.op, Affine):
        return "matrices" if position % 2 else "biases" if position == 0 else "vectors"
    return "parameters"


def _attributes(run: Run, groups: Groups, saved: int) -> Finding:
    group = groups[0]
    kinds = [run.kinds[c] for c in group]
    op: Any = kinds[0].op
    names = [f.name for f in fields(op) if len({repr(getattr(k.op, f.name)) for k in kinds}) > 1]
    told = []
    for name in names:
        values = [getattr(k.op, name) for k in kinds]
        texts = [f"{v:g}" if isinstance(v, float) else repr(v) for v in values]
        told.append(f"{name} = {some(texts, 4)}")
    shapes = ", ".join(str(t.shape) for t in kinds[0].args)
    text = (
        f"`{short(run.line_of(group[0]))}`: {int(run.kind_nodes[group].sum()):,} {op.name} of "
        f"{shapes} with {' and '.join(told)}: {len(kinds)} kinds, a batch for each."
    )
    lines = _lines(run, [group])
    if len(lines) > 1:
        text += f" Recorded at {span(lines)}."
    remedy = (
        f"Use one {' and one '.join(names)} for all: what is static cannot differ within a "
        "batch (indices, classes, factors and inputs can)."
    )
    if any(name.startswith("ax") for name in names):
        remedy += " Lay the arguments out alike when they are made, so that one axis is meant."
    return Finding("attributes", text, remedy, lines, saved, saved * BATCH_SECONDS)


def _other_shapes(run: Run, groups: Groups, saved: int) -> Finding:
    group, others = _first(run, groups)
    first = run.kinds[group[0]]
    shapes = sorted({_shapes(run, c) for c in group}, key=lambda s: (len(s), s))
    if len({len(s) for s in shapes}) > 1:
        shown = f"of {some([plural(len(s), 'argument') for s in shapes])}"
    else:
        varying = [p for p in range(len(shapes[0])) if len({s[p] for s in shapes}) > 1]
        shown = f"of shapes {some([str(s[varying[0]]) for s in shapes])}"
    text = (
        f"`{short(run.line_of(group[0]))}`: {int(run.kind_nodes[group].sum()):,} {first.op.name} "
        f"{shown}: {len(shapes)} different ones, a batch for each.{_likewise(run, others)}"
    )
    remedy = (
        "If it is a length, make it the batch: ln.rebatch(vectors), emb[words] or "
        "ln.constant(array, batched=True) have a row for each position, and ln.softmax_batch, "
        "ln.sum_batch, ln.max_batch and ln.nn.DotAttention take any number of rows in one batch; "
        "so do ln.sum, ln.mean and ln.max of a list."
    )
    return Finding("shapes", text, remedy, _lines(run, groups), saved, saved * BATCH_SECONDS)


def _dtypes(run: Run, groups: Groups, saved: int) -> Finding:
    group, others = _first(run, groups)
    first = run.kinds[group[0]]
    counts = Counter({str(run.kinds[c].type.dtype): int(run.kind_nodes[c]) for c in group})
    shown = " and ".join(f"{n:,} in {d}" for d, n in sorted(counts.items()))
    text = f"`{short(run.line_of(group[0]))}`: {called(first)}, {shown}.{_likewise(run, others)}"
    remedy = (
        "Use one dtype: make models with the same dtype=, and convert what differs with "
        "x.astype('float32'). Plain numbers and arrays take the dtype of what they meet."
    )
    return Finding("dtypes", text, remedy, _lines(run, groups), saved, saved * BATCH_SECONDS)


_WORDS: Final[dict[str, Callable[[Run, Groups, int], Finding]]] = {
    "parameters": _parameters,
    "attributes": _attributes,
    "shapes": _other_shapes,
    "dtypes": _dtypes,
}
