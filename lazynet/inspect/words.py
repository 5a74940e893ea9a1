"""What each batch of a view does and why it is one batch, in words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from lazynet.cells import readable
from lazynet.inspect.view import BatchView, Node, View
from lazynet.kinds import Shape
from lazynet.plan import plural

_FOLDERS = r"[/\\]"
_AT_MOST = 6
"""Batches, or parameters, named one by one in a sentence."""
_NEXT = "Press Play, or → for the next batch."
_MANY = 8
"""So many batches of one operation with hardly a node each are worth a word."""


def shape_text(shape: Shape) -> str:
    """A shape as it is said: 4 times 128, or "scalar"."""
    return "\N{MULTIPLICATION SIGN}".join(map(str, shape)) or "scalar"


def shapes_text(shapes: Sequence[Shape]) -> str:
    """Shapes of arguments, in brackets; of many equal ones in a row, how many."""
    parts: list[tuple[str, int]] = []
    for text in map(shape_text, shapes):
        if parts and parts[-1][0] == text:
            parts[-1] = (text, parts[-1][1] + 1)
        else:
            parts.append((text, 1))
    said = [t if n == 1 else f"{t}, {t}" if n == 2 else f"{n} of {t}" for t, n in parts]
    return f"({', '.join(said)})"


def words(view: View) -> list[tuple[str, str]]:
    """A title and some sentences for the graph as a whole, and for each of its batches.

    Args:
        view: Folded or not; what batches need of one another is only said where it is not.

    Returns:
        As many pairs as there are batches, and one more at the front.
    """
    of_kind: dict[int, list[int]] = {}
    for batch in view.batches:
        of_kind.setdefault(batch.kind, []).append(batch.number)
    of_op: dict[str, list[int]] = {}
    for kind in of_kind:
        of_op.setdefault(view.kinds[kind].op, []).append(kind)
    needs = [0] * len(view.batches) if view.folded else _needs(view)
    off = {k for k, run in enumerate(view.runs) if not run.autobatch}
    differences = _differences(view, of_op)
    said = [("Overview", _overview(view, of_kind, of_op, differences, bool(off)))]
    places = [0] * len(view.batches)
    later = [0] * len(view.batches)
    for same in of_kind.values():
        left = 0
        for at in range(len(same) - 1, -1, -1):
            places[same[at]], later[same[at]] = at, left
            left += view.batches[same[at]].size
    for batch in view.batches:
        sentences = [_what(view, batch)]
        if batch.evaluation in off:
            sentences.append("Batching is off here (`ln.no_autobatch`).")
        else:
            k, kind = batch.number, batch.kind
            sentences += _neighbours(of_kind[kind], places[k], later[k], needs[k])
            op = view.kinds[kind].op
            sentences += _relatives(op, len(of_op[op]) - 1, differences[kind])
        sentences.append(_recorded(view, batch))
        title = f"Batch {batch.number:,} (step {batch.number + 1:,} of {len(view.batches):,})"
        said.append((title, " ".join(sentences)))
    return said


def _needs(view: View) -> list[int]:
    """For each batch the set of batches that its nodes rest on, as the bits of a number."""
    above: list[int] = []
    needs = [0] * len(view.batches)
    for node in view.nodes:
        bits = 0
        for a in node.arguments:
            bits |= above[a]
            if (number := view.nodes[a].batch_number) >= 0:
                bits |= 1 << number
        above.append(bits)
        if node.batch_number >= 0:
            needs[node.batch_number] |= bits
    return needs


def _overview(
    view: View,
    of_kind: dict[int, list[int]],
    of_op: dict[str, list[int]],
    differences: dict[int, str],
    off: bool,
) -> str:
    total, batches = sum(batch.size for batch in view.batches), len(view.batches)
    if not batches:
        return "There is nothing to compute here: parameters only."
    verb = "runs" if total == 1 else "run"
    sentences = [
        f"{plural(total, 'node')} {verb} as {plural(batches, 'batch')}, {total / batches:,.1f} "
        "nodes to a batch on average. Nodes with the same operation, the same argument shapes and "
        "the same shared parameters become one call on one array."
    ]
    if view.in_batches < total:
        verb = "is" if view.in_batches == 1 else "are"
        sentences.append(f"{view.in_batches:,} of these nodes {verb} in this graph.")
    bound, ran = view.lower_bound, sum(run.batches for run in view.runs)
    if off:
        sentences.append("Here batching is off (`ln.no_autobatch`): each node runs by itself.")
        return " ".join([*sentences, _NEXT])
    if bound == ran:
        sentences.append("No order of work needs fewer batches.")
    else:
        sentences.append(f"No order of work needs fewer than {bound:,} batches.")
    op, number = max(
        ((op, sum(len(of_kind[kind]) for kind in kinds)) for op, kinds in of_op.items()),
        key=lambda pair: pair[1],
    )
    members = sum(batch.size for batch in view.batches if batch.op == op)
    if number >= _MANY and members < 2 * number:
        kinds = of_op[op]
        why = (
            "of one kind, each after the other"
            if len(kinds) == 1
            else f"of {len(kinds):,} kinds, which differ in {differences[kinds[0]]}"
        )
        sentences.append(
            f"Batching gains little for {op}: {members:,} nodes in {number:,} batches, {why}."
        )
    return " ".join([*sentences, _NEXT])


def _what(view: View, batch: BatchView) -> str:
    kind, size = view.kinds[batch.kind], batch.size
    nodes = [view.nodes[n] for n in batch.nodes]
    if nodes[0].role == "input":
        where = f"of shape {shape_text(nodes[0].shape)}"
        if size == 1:
            return f"1 input {where} is copied in."
        text = f"{size:,} inputs {where} are copied into one array: they have one shape and dtype."
    else:
        name = f"{batch.op}{shapes_text(kind.shapes)}"
        rows = f" on {plural(batch.rows, 'row')}" if batch.rows != size else ""
        if size == 1:
            return f"1 node of {name}{rows}, by itself."
        because = "because they have the same op and argument shapes"
        if shared := _shared(view, nodes):
            because += f", and share {shared}"
        text = f"{size:,} nodes of {name} as one call{rows}, {because}."
    here = sum(node.count for node in nodes)
    if here < size and not view.folded:
        text += f" {here:,} of them {'is' if here == 1 else 'are'} in this graph."
    return text


def _recorded(view: View, batch: BatchView) -> str:
    """The lines of these nodes where they were kept, else the first one of their kind."""
    nodes = [view.nodes[n] for n in batch.nodes]
    if not all(node.line_is_exact for node in nodes):
        return f"First recorded at {re.split(_FOLDERS, readable(batch.line))[-1]}."
    places = list(dict.fromkeys(node.place for node in nodes))
    more = f" and {plural(len(places) - 3, 'more line')}" if len(places) > 3 else ""
    return f"Recorded at {', '.join(places[:3])}{more}."


def _shared(view: View, nodes: list[Node]) -> str:
    """Names of the parameters that all these nodes take at the same place."""
    names: list[str] = []
    for column in zip(*(node.arguments for node in nodes)):
        first = view.nodes[column[0]]
        if first.role == "parameter" and set(column) == {column[0]}:
            names.append(first.name.removeprefix("/") or "a parameter")
    if len(names) > _AT_MOST:
        return f"{len(names)} parameters"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _neighbours(same: list[int], at: int, later: int, needs: int) -> list[str]:
    """Why other batches of this kind are not part of this one.

    Args:
        same: All batches of this kind.
        at: Which of them this one is.
        later: Nodes of those after it.
        needs: What it rests on, as bits.
    """
    sentences = []
    if at:
        before = same[at - 1]
        late = (needs >> (before + 1)).bit_length() + before  # the last batch needed; or `before`
        if needs >> before & 1:
            through = f", through batch {late}" if late > before else ""
            sentences.append(
                f"Batch {before} is of the same kind, but its results are needed here{through}."
            )
        elif late > before:
            sentences.append(
                f"Batch {before} is of the same kind, but when it ran, batch {late}, which "
                "is needed here, had not run."
            )
    if (after := len(same) - at - 1) > 0:
        some = ", ".join(str(k) for k in same[at + 1 : at + 1 + _AT_MOST])
        if after > _AT_MOST:
            some += f" and {after - _AT_MOST:,} more"
        word = "batch" if after == 1 else "batches"
        sentences.append(f"{plural(later, 'more node')} of this kind in {word} {some}.")
    return sentences


def _relatives(op: str, others: int, what: str) -> list[str]:
    """What tells a kind from the other kinds of its operation."""
    if not others:
        return []
    number = "1 other kind" if others == 1 else f"{others:,} other kinds"
    verb = "differs" if others == 1 else "differ"
    return [f"{number} of {op} {verb} from this one in {what}: no batch mixes kinds."]


def _differences(view: View, of_op: dict[str, list[int]]) -> dict[int, str]:
    """What tells each kind from the other kinds of its operation."""
    found = {}
    for same_op in of_op.values():
        kinds = [view.kinds[k] for k in same_op]
        forms = Counter([(kind.shapes, kind.shape) for kind in kinds])
        for number, kind in zip(same_op, kinds):
            alike = forms[kind.shapes, kind.shape] - 1
            if not alike:
                found[number] = "shapes"
            elif alike < len(kinds) - 1:
                found[number] = "shapes, parameters or settings"
            else:
                found[number] = "parameters" if any(kind.shared) else "settings"
    return found
