"""The tape: where recorded nodes are stored, as flat lists of ints, and when they are freed.

Each thread has one open tape. Evaluating something unevaluated on it seals it; what is recorded
next goes to a fresh one. Handles (`Expression`) and imports keep a tape alive.
"""

from __future__ import annotations

from itertools import count
from struct import Struct
from sys import getrefcount
from typing import Any, Final

import numpy as np

from lazynet.errors import LazynetError
from lazynet.kinds import FLOAT32, FLOAT64, FLOATS, Array, Kind, Op, alike
from lazynet.leaves import Input
from lazynet.native import Local

_seal_orders = count(1)
_NONE = np.zeros(0, np.int32)
UNKNOWN: Final = -2
"""Where a batch is expected: there is no such node (-1: a single row)."""


class Tape:
    """Nodes in the order of recording. Node i has a kind, arguments, a batch and a payload.

    Attributes:
        kinds: Kind of each node (pseudo-kinds for further outputs of the node before).
        starts: Where each node's arguments begin in `args`; they end where the next one's begin.
        args: Arguments of all nodes, as indices into this tape.
        rows: Batch of each node, -1 for a single row.
        payloads: What the node carries besides its arguments.
        shared: Shared nodes by kind (and mode): recorded once per tape.
        imports: Nodes of other tapes used here: for each of these tapes, index here by index
            there.
        unrecorded: Indices of nodes recorded under `no_grad`.
        lines: Source lines by index, for nodes recorded under `debug`.
        sealed: 0 while open, then a number that grows with each sealing: arguments always lie on
            tapes sealed earlier.
        several: Whether a node has several results.
        trace: While a fused function is traced: its trace, onto whose tape it records.
        groups: Per fused program, the indices of the parameters that its calls refer to; and of
            other nodes that are recorded once.
        evaluations: The evaluations that computed nodes of this tape.
        evaluated: Per node, 1 once it was evaluated (empty while the tape is open).
        done: Per node, index into `evaluations`.
        local: Per node, its number within that evaluation.
        known: What `recall` remembers of this tape alone; None until it is computed anew.
        renewable: Nodes that carry random keys; None until it is computed anew.
    """

    __slots__ = (
        "_arrays",
        "args",
        "done",
        "evaluated",
        "evaluations",
        "groups",
        "imports",
        "kinds",
        "known",
        "lines",
        "local",
        "payloads",
        "renewable",
        "rows",
        "sealed",
        "several",
        "shared",
        "starts",
        "trace",
        "unrecorded",
    )

    def __init__(self) -> None:
        self.kinds: list[Kind] = []
        self.starts: list[int] = []
        self.args: list[int] = []
        self.rows: list[int] = []
        self.payloads: list[Any] = []
        self.shared: dict[Any, int] = {}
        self.imports: dict[Tape, dict[int, int]] = {}
        self.unrecorded: set[int] = set()
        self.lines: dict[int, str] = {}
        self.sealed = 0
        self.several = False
        self.trace: Any = None
        self.groups: dict[Any, list[int]] = {}
        self.evaluations: list[Any] = []
        self.evaluated = bytearray()
        self.done = _NONE
        self.local = _NONE
        self.known: dict[Any, Any] | None = None
        self.renewable: list[int] | None = None
        self._arrays: tuple[Array, Array, Array, list[Kind], Array] | None = None

    def __len__(self) -> int:
        return len(self.kinds)

    def arguments(self, i: int) -> list[int]:
        """Arguments of node i."""
        end = self.starts[i + 1] if i + 1 < len(self.starts) else len(self.args)
        return self.args[self.starts[i] : end]

    def append(self, kind: Kind, args: list[int], rows: int, payload: Any) -> int:
        """Record a node (and the places of its further outputs); returns its index."""
        i = len(self.kinds)
        self.starts.append(len(self.args))
        self.args += args
        self.kinds.append(kind)
        self.rows.append(rows)
        self.payloads.append(payload)
        if len(kind.members) == 1:
            return i
        self.several = True
        for k in range(1, len(kind.members)):
            self.starts.append(len(self.args))
            self.args.append(i)
            self.kinds.append(kind.members[k])
            self.rows.append(rows)
            self.payloads.append(None)
        return i

    def include(self, kind: Kind, rows: int, payload: Any) -> int:
        """Append a node of one result that has no arguments; returns its index."""
        i = len(self.kinds)
        self.starts.append(len(self.args))
        self.kinds.append(kind)
        self.rows.append(rows)
        self.payloads.append(payload)
        return i

    def known_kind(self, op: Op, indices: list[int]) -> Kind | None:
        """The kind of this op on these arguments, if it was met before."""
        kinds = self.kinds
        try:
            known = op._kinds
        except AttributeError:
            known = op.kinds
        if len(indices) == 1:
            return known.get(kinds[indices[0]].type)
        if not op.nary:
            return known.get(tuple([kinds[i].type for i in indices]))
        first = kinds[indices[0]].type
        for i in indices:
            t = kinds[i].type
            if t is not first and not alike(t, first):
                return None
        return known.get(first)

    def joint_rows(self, op: Op, start: int) -> int:
        """Batch of a node whose arguments begin at `start`; if they disagree, they are dropped."""
        given = [self.rows[i] for i in self.args[start:]]
        try:
            return op.batch(*given)
        except LazynetError:
            del self.args[start:]
            raise

    def common_float(self, indices: list[int]) -> np.dtype[Any] | None:
        """The floating-point dtype that all arguments should have; None where nothing changes.

        Constants take the dtype of what they meet (the widest, among themselves).
        """
        kinds = [self.kinds[i] for i in indices]
        floats = [kind for kind in kinds if kind.type.dtype in FLOATS]
        if len({kind.type.dtype for kind in floats}) < 2:
            return None
        firm = {kind.type.dtype for kind in floats if not isinstance(kind.op, Input)}
        if len(firm) > 1:
            return None  # the op's dtype rule will say so
        if firm:
            return firm.pop()
        return FLOAT64 if FLOAT64 in [kind.type.dtype for kind in floats] else FLOAT32

    def seal(self) -> None:
        """Close the tape: from now on it is only evaluated."""
        if not self.sealed:
            self.sealed = next(_seal_orders)
            n = len(self.kinds)
            self.evaluated = bytearray(n)
            self.done = np.zeros(n, np.int32)
            self.local = np.zeros(n, np.int32)
            if LOCAL.tape is self:
                LOCAL.tape = NO_TAPE

    def release_imports(self) -> None:
        """Let go of the nodes of other tapes."""
        for places in self.imports.values():
            for i in places.values():
                self.payloads[i] = None
        self.imports = {}

    def snapshot(self) -> Tape:
        """What an open tape holds now, sealed, while the tape itself stays open."""
        copy = Tape()
        copy.kinds, copy.starts, copy.args = self.kinds, self.starts, self.args
        copy.rows, copy.payloads = self.rows, self.payloads
        copy.shared, copy.imports, copy.unrecorded = self.shared, self.imports, self.unrecorded
        copy.several, copy.lines = self.several, self.lines
        copy.seal()
        return copy

    def _columns(self) -> tuple[Array, Array, Array, list[Kind], Array]:
        if self._arrays is None:
            args = packed(self.args)
            _, first, code = unique(packed([kind.id for kind in self.kinds]))
            kinds = [self.kinds[i] for i in first.tolist()]
            n = len(self.rows)
            rows = np.full(n, -1) if self.rows.count(-1) == n else packed(self.rows)
            self._arrays = (packed([*self.starts, len(args)]), args, code, kinds, rows)
        return self._arrays

    def arrays(self) -> tuple[Array, Array]:
        """`starts` (with the end appended) and `args` of a sealed tape as arrays."""
        columns = self._columns()
        return columns[0], columns[1]

    def columns(self) -> tuple[Array, list[Kind], Array]:
        """Kind of each node as an index, the kinds that it refers to, and `rows` as an array."""
        columns = self._columns()
        return columns[2], columns[3], columns[4]

    def location(self, i: int) -> tuple[Any, int]:
        """The evaluation that computed node i, and the node's number there."""
        return self.evaluations[int(self.done[i])], int(self.local[i])


def packed(numbers: list[int]) -> Array:
    """The list as a read-only array, in a third of the time that `np.fromiter` takes."""
    return np.frombuffer(Struct(f"{len(numbers)}q").pack(*numbers), np.int64)


def small(numbers: Array) -> tuple[bytes, list[int]]:
    """Numbers >= 0 as bytes, of which 255 says: look in the list, which is empty if there is none.

    Compiled loops read bytes as machine words, and no object is made of them; list entries are
    made, counted and freed.
    """
    near = np.minimum(numbers, 255).astype(np.uint8).tobytes()
    return near, (numbers.tolist() if b"\xff" in near else [])


def unique(ids: Array) -> tuple[Array, Array, Array]:
    """Distinct values ascending, where each first stands, and which one each entry is."""
    low = int(ids.min()) if len(ids) else 0
    span = int(ids.max()) - low + 1 if len(ids) else 0
    if span > 4 * len(ids) + 65536:
        values, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
        return values, first, inverse.reshape(-1)
    shifted = ids - low
    where = np.full(span, -1, np.int64)
    where[shifted[::-1]] = np.arange(len(ids) - 1, -1, -1)
    present = np.flatnonzero(where >= 0)
    table = np.empty(span, np.int64)
    table[present] = np.arange(len(present))
    return present + low, where[present], table[shifted]


def ranges(first: Array, lengths: Array) -> Array:
    """The concatenation of ``first[k], first[k] + 1, ...`` (lengths[k] numbers each)."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    numbers: Array = np.arange(total) + np.repeat(first - ends + lengths, lengths)
    return numbers


def stable_order(keys: Array) -> Array:
    """`np.argsort(keys, kind="stable")` of whole numbers >= 0: by 16 bits at a time, where few."""
    highest = int(keys.max()) if len(keys) else 0
    if highest >> 32:
        return np.argsort(keys, kind="stable")
    result: Array = np.argsort(keys.astype(np.uint16), kind="stable")
    if highest >> 16:
        high = (keys >> 16).astype(np.uint16)[result]
        result = result[np.argsort(high, kind="stable")]
    return result


NO_TAPE: Final = Tape()
"""Stands for "no open tape" and for the tape of a parameter, which lies on none."""
NO_TAPE.sealed = -1

LOCAL: Final = Local(NO_TAPE)


def open_tape() -> Tape:
    """This thread's open tape; a fresh one if there is none."""
    tape = LOCAL.tape
    if tape is NO_TAPE:
        tape = LOCAL.tape = Tape()
    return tape


def _references(tape: Tape) -> int:
    return getrefcount(tape)


def tape_for_input() -> Tape:
    """The open tape for a new input; one that nobody refers to any more is dropped first."""
    tape = LOCAL.tape
    if tape is NO_TAPE or (len(tape.kinds) > 0 and _references(tape) <= _UNREFERENCED):
        tape = LOCAL.tape = Tape()
    return tape


def tape_count() -> int:
    """Number of tapes alive, by walking the objects the garbage collector knows: for tests."""
    import gc

    return sum(1 for o in gc.get_objects() if isinstance(o, Tape) and o is not NO_TAPE)


def _references_of_none() -> int:
    """What `_references` returns for a tape that nothing but `LOCAL` and its caller refer to."""
    LOCAL.tape = Tape()
    tape = LOCAL.tape
    count = _references(tape)
    LOCAL.tape = NO_TAPE
    return count


_UNREFERENCED: Final = _references_of_none()
