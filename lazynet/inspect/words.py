"""What each batch of a view does and why it is one batch, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

Shape = Sequence[int]
_AT_MOST = 6
"""Batches named one by one in a sentence."""


def plural(count: int, word: str) -> str:
    """A number with its noun: "1 node", "1,345 nodes", "2 batches"."""
    ending = "" if count == 1 else "es" if word.endswith("ch") else "s"
    return f"{count:,} {word}{ending}"


def shape_text(shape: Shape) -> str:
    """A shape as it is said: "4×128", or "scalar"."""
    return "×".join(map(str, shape)) or "scalar"


def shapes_text(shapes: Sequence[Shape]) -> str:
    """Shapes of arguments, in brackets; equal ones in a row are counted."""
    parts: list[list[Any]] = []
    for text in map(shape_text, shapes):
        if parts and parts[-1][0] == text:
            parts[-1][1] += 1
        else:
            parts.append([text, 1])
    said = [t if n == 1 else f"{t}, {t}" if n == 2 else f"{n} of {t}" for t, n in parts]
    return f"({', '.join(said)})"


def counts(view: dict[str, Any]) -> list[int]:
    """How many nodes each batch of a view computes, those counted that are folded into one."""
    nodes = view["nodes"]
    return [sum(nodes[n]["count"] for n in batch["nodes"]) for batch in view["batches"]]


def words(view: dict[str, Any]) -> list[tuple[str, str]]:
    """A title and some sentences for the graph as a whole, and for each of its batches.

    Args:
        view: What `View.to_dict` returns.

    Returns:
        As many pairs as there are batches, and one more at the front.
    """
    sizes = counts(view)
    of_kind: dict[int, list[int]] = {}
    for b, batch in enumerate(view["batches"]):
        of_kind.setdefault(batch["kind"], []).append(b)
    kinds_of_op: dict[str, list[int]] = {}
    for kind in of_kind:
        kinds_of_op.setdefault(view["kinds"][kind]["op"], []).append(kind)
    needs = _needs(view)
    said = [("Overview", _overview(view, sizes, of_kind))]
    for b, batch in enumerate(view["batches"]):
        sentences = [
            _what(view, b, sizes[b]),
            *_neighbours(b, of_kind[batch["kind"]], sizes, needs[b]),
            *_relatives(view, batch["kind"], kinds_of_op[view["kinds"][batch["kind"]]["op"]]),
        ]
        said.append((f"Batch {b + 1} of {len(sizes)}", " ".join(sentences)))
    return said


def _needs(view: dict[str, Any]) -> list[int]:
    """For each batch the set of batches that it needs, as the bits of a number."""
    above: list[int] = []
    for node in view["nodes"]:
        bits = 0
        for a in node["arguments"]:
            if a < len(above):
                bits |= above[a]
                if (before := view["nodes"][a]["batch_number"]) >= 0:
                    bits |= 1 << before
        above.append(bits)
    needs = []
    for batch in view["batches"]:
        bits = 0
        for n in batch["nodes"]:
            bits |= above[n]
        needs.append(bits)
    return needs


def _overview(view: dict[str, Any], sizes: list[int], of_kind: dict[int, list[int]]) -> str:
    total, batches = sum(sizes), len(sizes)
    if not batches:
        return "Nothing is left to compute here: parameters and constants only."
    sentences = [
        f"{plural(total, 'node')} {'runs' if total == 1 else 'run'} as {plural(batches, 'batch')}, "
        f"{total / batches:,.1f} nodes to a batch on average. Nodes with the same operation, the "
        "same argument shapes and the same shared parameters become one call on one array."
    ]
    bound = view["lower_bound"]
    if bound == batches:
        sentences.append("No order of work needs fewer batches.")
    elif bound:
        sentences.append(f"No order of work needs fewer than {bound:,} batches.")
    if batches >= 10 and total < 2 * batches:
        of_op: Counter[str] = Counter()
        for kind, some in of_kind.items():
            of_op[view["kinds"][kind]["op"]] += len(some)
        op, most = of_op.most_common(1)[0]
        kinds = sum(1 for kind in of_kind if view["kinds"][kind]["op"] == op)
        reason = "one kind, each waiting for another" if kinds == 1 else f"{kinds:,} kinds"
        sentences.append(f"Batching gains little: {most:,} of the batches are {op}, of {reason}.")
    sentences.append("Press Play, or → for the next batch.")
    return " ".join(sentences)


def _what(view: dict[str, Any], b: int, size: int) -> str:
    batch = view["batches"][b]
    kind = view["kinds"][batch["kind"]]
    nodes = [view["nodes"][n] for n in batch["nodes"]]
    if kind["op"] == "input":
        where = f"of shape {shape_text(nodes[0]['shape'])}"
        if size == 1:
            return f"1 input {where} is copied in."
        return f"{size:,} inputs {where} are copied into one array: they have one shape and dtype."
    name = f"{kind['op']}{shapes_text(kind['shapes'])}"
    shared = _shared(view, nodes)
    if size == 1:
        return f"1 node of {name}, by itself."
    because = "because they have the same op and argument shapes"
    if shared:
        because += f", and share {shared}"
    rows = f" on {batch['rows']:,} rows" if batch["rows"] != size else ""
    return f"{size:,} nodes of {name} as one call{rows}, {because}."


def _shared(view: dict[str, Any], nodes: list[dict[str, Any]]) -> str:
    """Names of the parameters that all these nodes take at the same place."""
    names: list[str] = []
    for column in zip(*(node["arguments"] for node in nodes)):
        first = view["nodes"][column[0]]
        if first["role"] == "parameter" and set(column) == {column[0]}:
            names.append(first["name"] or "a parameter")
    if len(names) > _AT_MOST:
        return f"{len(names)} parameters"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _neighbours(b: int, same: list[int], sizes: list[int], needs: int) -> list[str]:
    """Why other batches of this kind are not part of this one."""
    sentences = []
    at = same.index(b)
    if at:
        before = same[at - 1]
        late = (needs >> (before + 1)).bit_length() + before
        if needs >> before & 1:
            through = f", through batch {late + 1}" if late > before else ""
            sentences.append(
                f"Batch {before + 1} is of the same kind, but its results are needed here{through}."
            )
        elif late > before:
            sentences.append(
                f"Batch {before + 1} is of the same kind, but when it ran, batch {late + 1}, which "
                "is needed here, had not run."
            )
    if after := same[at + 1 :]:
        count = sum(sizes[k] for k in after)
        some = ", ".join(str(k + 1) for k in after[:_AT_MOST])
        dots = ", ..." if len(after) > _AT_MOST else ""
        word = "batch" if len(after) == 1 else "batches"
        sentences.append(f"{plural(count, 'more node')} of this kind: {word} {some}{dots}.")
    return sentences


def _relatives(view: dict[str, Any], kind: int, same_op: list[int]) -> list[str]:
    """What tells this kind from the other kinds of its operation."""
    others = [view["kinds"][k] for k in same_op if k != kind]
    if not others:
        return []
    own = view["kinds"][kind]
    if all(k["shapes"] != own["shapes"] for k in others):
        differs = "in the shapes of the arguments"
    elif any(k["shapes"] != own["shapes"] for k in others):
        differs = "in shapes, in a shared argument or in a setting"
    else:
        differs = "in a shared argument or in a setting"
    number = "1 other kind" if len(others) == 1 else f"{len(others):,} other kinds"
    return [f"There {'is' if len(others) == 1 else 'are'} {number} of {own['op']}, which differ"
            f"{'s' if len(others) == 1 else ''} {differs}, and kinds do not mix."]
