"""`ln.profile`: its figures add up, it changes nothing, and the trace can be read back."""

from __future__ import annotations

import contextvars
import itertools
import json
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet import routine
from lazynet.chains import SEEN as CHAIN_SEEN
from lazynet.modes import MODES
from lazynet.recorder import PHASES
from lazynet.routine import SEEN

rng = np.random.default_rng(0)


class Net:
    """Sequences of any length, a cell written op by op or fused, a table, a head."""

    def __init__(self, fused: bool) -> None:
        self.model = ln.Model(seed=1)
        self.table = self.model.lookup(20, 6, name="words")
        self.W = self.model.parameter((6, 6), name="W")
        self.V = self.model.parameter((3, 6), name="V")
        self.opt = ln.optim.Adam(self.model, lr=0.01)
        self.cell = ln.fuse(self.step) if fused else self.step

    def step(self, x: Any, h: Any) -> Any:
        return ln.tanh(self.W @ h + x) * ln.sigmoid(x)

    def loss(self, lengths: list[int]) -> Any:
        losses = []
        for n in lengths:
            h = ln.constant(np.zeros(6, np.float32))
            for k in range(n):
                h = self.cell(self.table[(3 * k + n) % 20], h)
            losses.append(ln.cross_entropy(self.V @ h, n % 3))
        return ln.mean(losses)

    def train(self, lengths: list[int]) -> float:
        loss = self.loss(lengths)
        loss.backward()
        self.opt.step()
        return float(loss.value())


@pytest.mark.parametrize("fused", [False, True])
def test_counts_are_those_of_the_plan_and_results_are_the_same(fused: bool) -> None:
    plain, profiled = Net(fused), Net(fused)
    lengths = [[3, 5, 2], [4, 4], [1, 6, 2]]
    expected = [plain.train(n) for n in lengths]
    batches = 0
    with ln.profile() as p:
        for n, value in zip(lengths, expected, strict=True):
            loss = profiled.loss(n)
            batches += len(ln.plan(loss))
            loss.backward()
            profiled.opt.step()
            assert loss.value() == value
    assert (p.evaluations, p.backwards, p.updates) == (3, 3, 3)
    assert p.batches == batches
    for a, b in zip(plain.model, profiled.model, strict=True):
        np.testing.assert_array_equal(a.value(), b.value())


def test_phases_add_up_to_the_whole() -> None:
    net = Net(False)
    with ln.profile() as p:
        net.train([3, 4])
    assert [phase.name for phase in p.phases] == list(PHASES)
    assert sum(phase.seconds for phase in p.phases) == pytest.approx(p.seconds, rel=1e-6)
    by_name = {phase.name: phase for phase in p.phases}
    for name in ("record", "collect", "schedule", "layout", "memory", "forward", "backward",
                 "weights", "update"):  # fmt: skip
        assert by_name[name].seconds > 0, name
    for name in ("memory", "forward", "backward", "weights", "update"):
        assert by_name[name].bytes > 0, name
    kinds = [k for k in p.kinds if k.phase == "forward"]
    assert sum(k.seconds for k in kinds) <= by_name["forward"].seconds
    assert [k.seconds for k in p.kinds] == sorted([k.seconds for k in p.kinds], reverse=True)


def test_figures_of_a_kind() -> None:
    W = ln.Model(seed=0).parameter((4, 3), name="W")
    xs = [ln.constant([1.0, 2.0, float(k)]) for k in range(5)]
    with ln.profile() as p:
        ln.sum([(W @ x).sum() for x in xs]).backward()
    found = {k.phase: k for k in p.kinds if k.op == "matmul"}
    assert set(found) == {"forward", "weights"}  # no gradient of the inputs is wanted
    forward, weights = found["forward"], found["weights"]
    assert (forward.batches, forward.rows, forward.units) == (1, 5, 1)
    assert forward.shapes == ((4, 3), (3,))
    assert forward.flops == weights.flops == 5 * 2 * 4 * 3
    assert forward.bytes == 4 * (5 * 3 + 5 * 4 + 4 * 3)
    assert forward.copied == 0
    assert re.search(r"\.py:\d+$", forward.line)


def test_gathers_and_slices() -> None:
    x = ln.constant([[1.0, 2.0]] * 6, batched=True)
    rows = ln.unbatch(x)
    with ln.profile() as p:
        ln.sum([rows[5] * 2.0, rows[0] * 2.0, rows[3] * 2.0]).value()
    assert p.gathered == 1 and p.gathered_bytes == 3 * 2 * 4
    assert p.sliced == 1 and p.sliced_bytes == 3 * 2 * 4
    assert {k.op: k.copied for k in p.kinds}["multiply_number"] == 3 * 2 * 4


def test_chains_and_routines_run_as_they_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routine, "_printed", [])  # where there are many, new ones come later
    net = Net(False)
    with ln.profile() as p:
        for _ in range(CHAIN_SEEN + 2):
            net.loss(list(range(1, 40))).backward()  # too long for a routine
    chains = [k for k in p.kinds if k.phase == "forward" and " + " in k.op]
    assert chains and all(k.units < k.batches for k in chains)
    assert "ran as one function" in p.table()

    def small() -> Any:
        return (ln.tanh(net.W @ ln.constant(np.ones(6))) * 2.0).sum()

    times = SEEN + 4
    with ln.profile() as q:
        for _ in range(times):
            small().backward()
    for phase in ("forward", "backward"):
        routines = [k for k in q.kinds if k.phase == phase and "matmul" in k.op and " + " in k.op]
        assert routines, phase
    assert q.batches == times * len(ln.plan(small()))


def test_nothing_is_kept_when_off() -> None:
    net = Net(False)
    with ln.profile() as p:
        net.train([2])
    before = p.evaluations, p.seconds, len(p.kinds)
    net.train([2])
    assert (p.evaluations, p.seconds, len(p.kinds)) == before
    assert MODES.get().profile is None


def test_nothing_computed() -> None:
    with ln.profile() as p:
        x = ln.constant([1.0]) * 2.0
    assert p.evaluations == 0 and p.kinds == []
    assert "Nothing was computed" in str(p) and "Nothing was computed" in p._repr_html_()
    assert x.value().tolist() == [2.0]


def test_an_exception_inside_leaves_the_figures_and_the_mode() -> None:
    class Fails(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: Any, *args: Any) -> Any:
            raise ZeroDivisionError("no luck")

    p = ln.profile()
    with pytest.raises(ln.EvaluationError), p:
        ln.exp(ln.constant([1.0])).value()
        Fails()(ln.exp(ln.constant([1.0]))).value()
    assert MODES.get().profile is None
    assert p.evaluations == 2
    assert {k.op: k.batches for k in p.kinds}["exp"] == 2
    assert "ended with EvaluationError" in str(p)
    assert sum(phase.seconds for phase in p.phases) == pytest.approx(p.seconds, rel=1e-6)


def test_nested_profiles_both_count() -> None:
    net = Net(False)
    with ln.profile() as outer:
        net.train([2])
        with ln.profile() as inner:
            net.train([2])
        net.train([2])
    assert (outer.evaluations, inner.evaluations) == (3, 1)
    assert outer.batches == 3 * inner.batches
    assert sum(phase.seconds for phase in outer.phases) == pytest.approx(outer.seconds, rel=1e-6)
    assert all(phase.seconds >= 0 for phase in outer.phases)
    assert outer.gathered == 3 * inner.gathered


def test_other_threads_are_not_counted() -> None:
    net = Net(False)
    with ln.profile() as p:
        context = contextvars.copy_context()
        threads = [
            threading.Thread(target=lambda: net.loss([3]).value()),
            threading.Thread(target=lambda: context.run(lambda: net.loss([3]).value())),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert p.evaluations == 0


def test_a_profile_is_used_once() -> None:
    p = ln.profile()
    assert "nothing has run" in repr(p)
    with pytest.raises(ln.SettingError, match=r"with ln\.profile\(\) as p"):
        p.table()
    with p:
        pass
    with pytest.raises(ln.SettingError, match="used before"), p:
        pass
    with pytest.raises(ln.SettingError, match="wait='yes'"):
        ln.profile(wait="yes")  # type: ignore[arg-type]


def test_the_table_and_its_html() -> None:
    net = Net(False)
    with ln.profile() as p:
        net.train([3, 2])
    text = p.table(limit=3)
    heading = r" ms in 1 evaluation, 1 backward and 1 update, on (the CPU|cuda:0)$"
    assert re.search(heading, text.splitlines()[0])
    assert "others" in text and f"of {len(p.kinds)} that took longest" in text
    assert re.search(r"\.py:\d+", text) and str(p) == p.table()
    html = p._repr_html_()
    assert html.count("<table>") == html.count("</table>") == 2
    assert "<lambda" not in html and "matmul" in html
    assert "1 evaluation" in repr(p)
    with pytest.raises(ln.SettingError, match="table: got limit='all'"):
        p.table(limit="all")  # type: ignore[arg-type]


def test_the_table_fits_a_terminal() -> None:
    model = ln.Model(seed=0)
    lstm = ln.nn.LSTM(model, 30, 20)
    x = ln.constant(np.ones((4, 30), "float32"), batched=True)
    with ln.profile() as p:
        lstm(x)[1][0].sum().backward()
    lines = p.table(limit=100).splitlines()
    assert max(map(len, lines)) <= 100
    cut = [line for line in lines if "LSTMCell.step" in line]
    assert cut and all(re.search(r"\.\.\. +\S*profile\.py:\d+$", line) for line in cut)
    assert "(80, 30), (80, 20)" in str(next(k.shapes for k in p.kinds if k.op == "LSTMCell.step"))


def test_the_trace_can_be_read_back(tmp_path: Path) -> None:
    net = Net(True)
    with ln.profile() as p:
        net.train([3, 2])
    path = tmp_path / "trace.json"
    p.save_trace(path)
    trace = json.loads(path.read_text())
    events = [e for e in trace["traceEvents"] if e["ph"] == "X"]
    assert {e["ph"] for e in trace["traceEvents"]} == {"X", "M"}
    phases = [e for e in events if e["cat"] == "phase"]
    units = [e for e in events if e["cat"] != "phase"]
    assert {"record", "schedule", "forward", "backward", "weights", "update"} <= {
        e["name"] for e in phases
    }
    assert sum(e["args"]["batches"] for e in units if e["cat"] == "forward") == p.batches
    for unit in units:
        assert re.search(r":\d+", unit["args"]["source"])
        assert unit["args"]["rows"] > 0 and unit["dur"] >= 0
        around = [
            e
            for e in phases
            if e["name"] == unit["cat"]
            and e["ts"] <= unit["ts"] + 1e-3
            and unit["ts"] + unit["dur"] <= e["ts"] + e["dur"] + 1e-3
        ]
        assert len(around) == 1
    ordered = sorted(phases, key=lambda e: e["ts"])
    for one, next_ in itertools.pairwise(ordered):
        assert one["ts"] + one["dur"] <= next_["ts"] + 1e-3
    with pytest.raises(ln.FileError, match=r"^save_trace: .*missing.* cannot be written"):
        p.save_trace(tmp_path / "missing" / "trace.json")


def test_a_full_trace_goes_on_counting(tmp_path: Path) -> None:
    net = Net(False)
    with ln.profile() as p:
        p._figures.room = 5
        net.train([3, 2])
    p.save_trace(tmp_path / "t.json")
    trace = json.loads((tmp_path / "t.json").read_text())
    assert len([e for e in trace["traceEvents"] if e["ph"] == "X"]) == 5
    assert trace["otherData"]["slices left out at the end"] > 0
    assert p.batches > 5


@pytest.mark.parametrize("wait", [False, True])
@pytest.mark.usefixtures("device")
def test_on_each_device(wait: bool) -> None:
    net = Net(True)
    with ln.profile(wait=wait) as p:
        net.train([3, 2])
    gpu = MODES.get().device != "cpu"
    assert ("Times on cuda" in str(p)) == (gpu and not wait)
    assert ("on cuda" in str(p)) == gpu
    assert p.batches > 0 and {k.phase for k in p.kinds} == {"forward", "backward", "weights"}
