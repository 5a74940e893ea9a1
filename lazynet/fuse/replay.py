"""A fused function or a scan run op by op on one example: to find what in it went wrong, and where.

The trace is the program that the user wrote, with the line of each operation; what is printed from
it has other steps. So a result that is no number, or a failure, is looked for in the trace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from lazynet.deferred import Slot
from lazynet.fuse.trace import Trace, Used
from lazynet.kinds import Array, Call, Kind
from lazynet.randomness import KEY_STEP, ROW_STEP
from lazynet.staged import Inner, InnerError, Replay

_MASK = (1 << 64) - 1


class TraceReplay(Replay):
    """See `Replay`.

    Args:
        trace: The trace.
        form: Of a scan, how its arguments are used (`cell.Form`); None for a fused function.
        args: Values of the arguments.
        payload: What the node carries.
        row: Which row of its batch.
    """

    def __init__(self, trace: Trace, form: Any, args: list[Array], payload: Any, row: int) -> None:
        self.trace = trace
        self.form = form
        self.args = args
        self.payload = payload
        self.row = row
        self.values: list[Array] = []
        self.names: list[str] = []
        self.shared = set()
        self.arguments = {}
        self.outputs = [[] for _ in trace.outputs]

    def _add(self, value: Array, name: str, shared: bool = False, argument: int = -1) -> int:
        self.values.append(value)
        self.names.append(name)
        if argument >= 0:
            self.arguments[len(self.values) - 1] = argument
        if shared:
            self.shared.add(len(self.values) - 1)
        return len(self.values) - 1

    def run(self) -> Iterator[Inner]:
        trace, form = self.trace, self.form
        common: dict[int, int] = {}
        yield from self._common(common)
        rows = [k for k, i in enumerate(trace.inputs) if i not in common]
        numbers = {k: -1 for k in rows}
        if form is None:
            for k in rows:
                numbers[k] = self._add(self.args[k][None], f"argument {k}", argument=k)
            yield from self._pass(common, numbers, -1, 0)
            return
        for k in rows:
            if k >= form.inputs:
                name = f"argument {k}" + (", before the first step" if k < form.constant(0) else "")
                numbers[k] = self._add(self.args[k][None], name, argument=k)
        steps = len(self.args[0])
        order = range(steps - 1, -1, -1) if form.reverse else range(steps)
        for time, t in enumerate(order):
            for k in range(form.inputs):
                if k in numbers:
                    name = f"argument {k}, row {t} of the sequence"
                    numbers[k] = self._add(self.args[k][t : t + 1], name, argument=k)
            yield from self._pass(common, numbers, t, time)
            for j, result in enumerate(form.next_states):
                if form.state(j) in numbers:
                    numbers[form.state(j)] = self.outputs[result][-1]
        if form.reverse:
            for found in self.outputs:
                found.reverse()

    def _common(self, common: dict[int, int]) -> Iterator[Inner]:
        """Parameters, constants, and what is computed from these alone."""
        tape = self.trace.tape
        at = len(self.trace.inputs)
        for k, i in enumerate(self.trace.inputs):
            if tape.kinds[i].shared:
                common[i] = self._add(self.args[k], f"argument {k}", True, k)
        for i, kind in enumerate(tape.kinds):
            payload = tape.payloads[i]
            arguments = tape.arguments(i)
            if isinstance(payload, Used):
                name = f"parameter {payload.name!r}"
                common[i] = self._add(self.args[at], name, True, at)
                at += 1
            elif isinstance(payload, np.ndarray) and not arguments:
                value = payload.reshape(kind.type.shape)
                if kind.shared:
                    common[i] = self._add(value, "a constant", True)
                else:
                    common[i] = self._add(value[None], "a constant")
            elif kind.shared and arguments and i not in common:
                yield self._inner(i, common, -1, 0)
                number = common[i]
                self.values[number] = self.values[number][0]
                self.shared.add(number)

    def _pass(
        self, common: dict[int, int], numbers: dict[int, int], step: int, time: int
    ) -> Iterator[Inner]:
        tape = self.trace.tape
        env = dict(common)
        for k, number in numbers.items():
            env[self.trace.inputs[k]] = number
        for i, kind in enumerate(tape.kinds):
            if kind.position == 0 and i not in env:
                yield self._inner(i, env, step, time)
        for found, i in zip(self.outputs, self.trace.outputs):
            found.append(env[i])

    def _inner(self, i: int, env: dict[int, int], step: int, time: int) -> Inner:
        tape = self.trace.tape
        kind = tape.kinds[i]
        op = kind.op
        line = tape.lines.get(i, kind.line)
        sources = [env[a] for a in tape.arguments(i)]
        shared = []
        args = []
        for number in sources:
            value = self.values[number]
            plain = op.shares and number in self.shared and not kind.shared
            shared.append(plain)
            args.append(value if plain or number not in self.shared else value[None])
        outs = [np.empty((1, *t.shape), t.work) for t in kind.outputs]
        out: Any = outs[0] if len(outs) == 1 else tuple(outs)
        needs = (True,) * len(args)
        call = Call(1, self._payload(i, kind, time), tuple(shared), needs, out)
        given = args
        if op.nary:
            call.segments = np.array([0, len(args)])
            call.shared = (False,)
            given = [np.concatenate(args)]
        try:
            y = op.forward(call, *given)
            results = list(y) if len(outs) > 1 else [y]
            for target, result in zip(outs, results):
                if result is not target:
                    target[...] = result
        except Exception as error:
            raise InnerError(kind, line, step) from error
        call.out = None
        targets = [
            self._add(value, f"{kind}, line {line}" + (f", step {step}" if step >= 0 else ""))
            for value in outs
        ]
        for position, number in enumerate(targets):
            env[i + position] = number
        flows = op.differentiable and i not in tape.unrecorded
        names = [self.names[number] for number in sources]
        return Inner(kind, line, step, call, args, names, outs, sources, targets, flows)

    def _payload(self, i: int, kind: Kind, time: int) -> Any:
        """The payload of one row, as `payloads.assemble` makes it."""
        form = kind.op.payload
        given = self.trace.tape.payloads[i]
        if form is None or given is None:
            return None
        if isinstance(given, Slot):
            given = self.payload[self.trace.slots.index(given)]
            if isinstance(given, (list, tuple, np.ndarray)):
                given = given[self.row]
        elif form == "key":
            number = self.trace.key_number(given) + time * self.trace.keys
            key = int(self.payload[-1]) + number * KEY_STEP
            if self.form is None and self.trace.tape.rows[i] != -1:
                key += self.row * ROW_STEP
            return np.array([key & _MASK], np.uint64)
        if form == "ints":
            return np.array(given, np.int64).reshape(1, -1)
        return np.array([given], kind.type.work if form == "float" else np.int64)


__all__ = ["TraceReplay"]
