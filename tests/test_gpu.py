"""Evaluation on a GPU: where things are computed, what is copied when, and errors.

What the counters say is measured under the emulator; on a GPU those tests skip.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lazynet as ln
from lazynet.execute import evaluate

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu")]


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Counts launches, copies and waits of a block, read after it."""
    stats = pytest.importorskip("cuda_emulator").stats
    with stats.measure() as used:
        yield used


class Recurrent:
    """Sequences of different lengths through one cell, on a device."""

    def __init__(self, device: str, dtype: str = "float64") -> None:
        self.model = ln.Model(seed=1, dtype=dtype, device=device)
        self.W = self.model.parameter((6, 6))
        self.b = self.model.parameter(6, init=0.1)
        self.table = self.model.lookup(20, 6)
        self.inputs: list[ln.Expression] = []

    def states(self, lengths: list[int]) -> list[ln.Expression]:
        """The last state of each sequence."""
        rng = np.random.default_rng(len(lengths))
        last = []
        for n in lengths:
            h = ln.constant(rng.standard_normal(6), dtype=self.model.dtype)
            self.inputs.append(h)
            for _ in range(n):
                word = int(rng.integers(0, 20))
                h = ln.tanh(self.W @ (h + self.table[word]) + self.b)
            last.append(h)
        return last

    def loss(self, lengths: list[int]) -> ln.Expression:
        return ln.mean([ln.squared_norm(h) for h in self.states(lengths)])

    def gradients(self) -> list[Any]:
        return [p.gradient() for p in self.model if p.has_gradient()]


def on_both(run: Callable[[str], list[Any]], rtol: float = 1e-12) -> None:
    """The same on the CPU and on the GPU."""
    expected, found = run("cpu"), run("cuda")
    assert len(expected) == len(found)
    for e, f in zip(expected, found):
        assert type(e) is type(f)
        assert getattr(e, "dtype", None) == getattr(f, "dtype", None)
        scale = float(np.max(np.abs(e), initial=1.0))
        np.testing.assert_allclose(f, e, rtol=rtol, atol=rtol * scale)


# Where things are computed


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), ("float64", 1e-12)])
def test_a_recurrent_network(dtype: str, rtol: float) -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device, dtype)
        loss = net.loss([3, 1, 4, 1, 5])
        loss.backward()
        inputs = [x.gradient() for x in net.inputs]
        return [loss.value(), *net.gradients(), *inputs]

    on_both(run, rtol)


def test_an_evaluation_that_goes_on_from_an_earlier_one() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        early = net.states([2, 3])
        first = early[0].value()
        later = [ln.tanh(net.W @ h) for h in early]
        loss = ln.sum([ln.squared_norm(h) for h in later])
        loss.backward()
        return [first, loss.value(), *net.gradients(), early[0].gradient(), early[1].gradient()]

    on_both(run)


def test_only_some_rows_are_reached() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        states = net.states([2, 3, 4])
        ln.values(states)
        ln.squared_norm(states[1]).backward()
        with pytest.raises(ln.GradientError):
            states[0].gradient()
        return [*net.gradients(), states[1].gradient()]

    on_both(run)


def test_no_grad_and_detach() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        with ln.no_grad():
            frozen = net.states([2])[0]
        kept = net.states([3])[0]
        stopped = net.states([2, 2])[1].detach()
        loss = ln.squared_norm(ln.tanh(net.W @ (frozen + kept + stopped)))
        loss.backward()
        return [loss.value(), *net.gradients(), kept.gradient(), stopped.value()]

    on_both(run)


def test_shared_nodes() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        shared = ln.tanh(net.W.T)
        states = [shared @ h for h in net.states([1, 2])]
        loss = ln.sum([ln.squared_norm(h) for h in states])
        loss.backward()
        return [loss.value(), shared.value(), *net.gradients()]

    on_both(run)


def test_node_by_node() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        with ln.no_autobatch():
            loss = net.loss([2, 1])
            loss.backward()
        return [loss.value(), *net.gradients()]

    on_both(run)


def test_two_losses_in_one_walk() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        a, b = net.loss([2]), net.loss([3, 1])
        ln.backward([a, b])
        return [*ln.values([a, b]), *net.gradients()]

    on_both(run)


def test_a_parameter_as_the_root() -> None:
    def run(device: str) -> list[Any]:
        model = ln.Model(device=device)
        w = model.parameter((), init=2.0)
        w.backward()
        (w * 1.0).backward()
        return [w.gradient(), w.value()]

    on_both(run)


def test_forms_of_values() -> None:
    with ln.use_device("cuda"):
        assert type(ln.constant(2.5).value()) is float
        x = ln.constant([[1, 2], [3, 4]], batched=True)
        y = (x * 2).value()
        assert type(y) is np.ndarray and y.flags.writeable and y.shape == (2, 2)
        assert ln.unbatch(x)[1].value().tolist() == [3, 4]
        whole = ln.constant(np.array([1, 2]), dtype="int64")
        assert whole.value().dtype == np.int64
        nothing = ln.constant(np.zeros((0, 3)), batched=True)
        assert (nothing * 2).value().shape == (0, 3)


def test_what_depends_on_constants_alone_is_computed_where_use_device_says() -> None:
    import cupy

    with ln.use_device("cuda"):
        x = ln.constant([1.0, 2.0]) * 2
        assert isinstance(x.value(device=True), cupy.ndarray)
    y = ln.constant([1.0, 2.0]) * 2
    assert isinstance(y.value(device=True), np.ndarray)


def test_constants_computed_on_the_cpu_go_into_a_graph_on_the_gpu() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        x = ln.constant(np.linspace(0, 1, 6))
        early = ln.tanh(x)
        early.value()  # on the CPU
        loss = ln.squared_norm(net.W @ early)
        loss.backward()
        return [loss.value(), *net.gradients(), x.gradient(), early.gradient()]

    on_both(run)


def test_parameters_on_two_devices_do_not_mix() -> None:
    here, there = ln.Model(device="cpu"), ln.Model(device="cuda")
    a = here.parameter(3, name="a")
    b = there.parameter(3, name="b")
    with pytest.raises(ln.DeviceError) as caught:
        (a + b).value()
    text = str(caught.value)
    assert "'/a' on 'cpu'" in text and "'/b' on 'cuda:0'" in text
    assert f"{Path(__file__).name}:" in text


def test_values_of_two_devices_do_not_mix_either() -> None:
    here, there = ln.Model(device="cpu"), ln.Model(device="cuda")
    a = ln.tanh(here.parameter(3, name="a"))
    b = there.parameter(3, name="b")
    a.value()
    with pytest.raises(ln.DeviceError, match=r"tanh.*on 'cpu'"):
        (a + b).value()
    assert (ln.constant(a.value()) + b).value().shape == (3,)  # the remedy


def test_an_input_on_the_gpu_does_not_mix_with_a_model_on_the_cpu() -> None:
    import cupy

    w = ln.Model(device="cpu").parameter(3)
    with pytest.raises(ln.DeviceError, match=r"an input \(line .*on 'cuda:0'"):
        (w * ln.constant(cupy.ones(3))).value()


def test_a_failed_evaluation_leaves_everything_as_it_was() -> None:
    class Failing(ln.Op):
        fails = True

        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: ln.Call, *args: Any) -> Any:
            if Failing.fails:
                raise RuntimeError("on demand")
            return args[0] * 2

        def backward(self, call: ln.Call, dy: Any, y: Any, *args: Any) -> Any:
            return dy * 2

    net = Recurrent("cuda")
    h = net.states([2])[0]
    y = ln.squared_norm(Failing()(h))
    with pytest.raises(ln.EvaluationError, match="on demand"):
        y.backward()
    assert not net.gradients()
    Failing.fails = False
    y.backward()
    assert len(net.gradients()) == 3


def test_a_parameter_changed_before_backward_is_noticed() -> None:
    net = Recurrent("cuda")
    loss = net.loss([2])
    loss.value()
    net.W.array = np.zeros((6, 6))
    with pytest.raises(ln.GradientError, match="was changed"):
        loss.backward()


def test_gradcheck_on_the_gpu() -> None:
    with ln.use_device("cuda"):
        model = ln.Model(dtype="float64")
        W = model.parameter((3, 3))
        ln.gradcheck(lambda x: ln.tanh(W @ x), [[0.1, 0.2, 0.3]], [W])


def test_training_gives_the_losses_of_the_cpu() -> None:
    def run(device: str) -> list[Any]:
        net = Recurrent(device)
        opt = ln.optim.Adam(net.model, lr=0.05, clip=1.0, sparse="lazy")
        losses = []
        for _ in range(5):
            loss = net.loss([3, 1, 2])
            loss.backward()
            opt.step()
            losses.append(loss.value())
        return losses

    on_both(run, 1e-11)


# Arrays on the device


def test_values_stay_on_the_device_if_asked() -> None:
    import cupy

    net = Recurrent("cuda")
    h = net.states([2])[0]
    kept = h.value(device=True)
    assert isinstance(kept, cupy.ndarray)
    assert (kept.get() == h.value()).all()
    kept[...] = 0
    assert h.value().any()  # it is the caller's own
    assert isinstance(net.W.value(device=True), cupy.ndarray)
    assert ln.squared_norm(h).value(device=True).shape == ()


def test_dlpack() -> None:
    import cupy

    h = Recurrent("cuda").states([2])[0]
    assert (cupy.from_dlpack(h).get() == h.value()).all()
    here = ln.tanh(ln.constant([1.0, 2.0]))
    assert (np.from_dlpack(here) == here.value()).all()


def test_inputs_may_be_arrays_on_the_gpu() -> None:
    import cupy

    given = cupy.arange(6, dtype=np.float64).reshape(2, 3)
    x = ln.constant(given, batched=True)
    given[...] = -1
    assert x.value().tolist() == [[0, 1, 2], [3, 4, 5]] and x.dtype == np.float64
    assert isinstance((x * 2).value(device=True), cupy.ndarray)
    assert ln.constant(cupy.arange(3)).dtype == np.float32
    assert ln.constant(cupy.arange(3), dtype="int64").dtype == np.int64
    assert ln.constant(cupy.arange(3.0), dtype="int64").value().tolist() == [0, 1, 2]
    with pytest.raises(ln.ArgumentError, match="whole numbers"):
        ln.constant(cupy.array([0.5]), dtype="int64")
    with pytest.raises(ln.ArgumentError, match="complex"):
        ln.constant(cupy.array([0.5j]))
    assert (ln.constant([1.0, 2.0]) + cupy.ones(2)).value().tolist() == [2, 3]
    assert (cupy.ones(2) + ln.constant([1.0, 2.0])).value().tolist() == [2, 3]
    turned = ln.constant(cupy.arange(6.0).reshape(2, 3).T)
    assert turned.value().tolist() == [[0, 3], [1, 4], [2, 5]]


def test_inputs_of_another_library() -> None:
    import cupy

    class Foreign:
        def __init__(self, array: Any) -> None:
            self.array = array
            self.__cuda_array_interface__ = array.__cuda_array_interface__

    x = ln.constant(Foreign(cupy.ones(3, np.float32)))
    assert (x * 2).value().tolist() == [2, 2, 2]


def test_inputs_on_both_sides_and_their_gradients() -> None:
    import cupy

    def run(device: str) -> list[Any]:
        rng = np.random.default_rng(0)
        arrays: list[Any] = [rng.standard_normal(4) for _ in range(12)]
        if device != "cpu":
            arrays = [cupy.asarray(a) if k % 2 else a for k, a in enumerate(arrays)]
        with ln.use_device(device):
            xs = [ln.constant(a) for a in arrays]
            loss = ln.sum([ln.squared_norm(ln.tanh(x)) for x in xs])
            loss.backward()
            return [loss.value(), *[x.gradient() for x in xs]]

    on_both(run)


def test_an_array_on_the_gpu_where_one_on_the_host_belongs() -> None:
    import cupy

    model = ln.Model(device="cuda")
    table = model.lookup(3, 2)
    with pytest.raises(ln.ArgumentError):
        table[cupy.array([0, 1])]
    with pytest.raises(ln.ArgumentError, match=r"\.get\(\)"):
        ln.gradcheck(ln.tanh, [cupy.ones(3)])


@pytest.mark.parametrize("way", ["mixes", "returns"])
def test_an_operation_of_the_users_that_takes_arrays_of_the_host(way: str) -> None:
    class Mixing(ln.Op):
        def shape(self, *shapes: Any) -> Any:
            return shapes[0]

        def forward(self, call: ln.Call, x: Any) -> Any:
            return np.ones((1, 3)) + x if way == "mixes" else np.ones((1, 3))

    with ln.use_device("cuda"):
        y = Mixing()(ln.constant([1.0, 2.0, 3.0]))
        with pytest.raises(ln.EvaluationError, match=r"mixing.*on a GPU.*np\.zeros_like\(x"):
            y.value()


# What is copied when


def test_one_upload_in_forward_and_none_in_backward() -> None:
    net = Recurrent("cuda")
    for lengths in ([3, 1, 4], [2, 2], [5, 1, 1, 2]):
        loss = net.loss(lengths)
        with counted() as forward:
            evaluate([loss])
        assert forward["h2d"] == 1 and forward["d2h"] == 0 and forward["syncs"] == 0
        with counted() as backward:
            loss.backward()
        assert backward["d2h"] == 0 and backward["syncs"] == 0
        assert backward["h2d"] == 0
        with counted() as asked:
            loss.value()
        assert asked["d2h"] == 1


def test_an_evaluation_after_another_takes_one_upload() -> None:
    net = Recurrent("cuda")
    early = net.states([2, 3])
    evaluate(early)
    loss = ln.sum([ln.squared_norm(ln.tanh(net.W @ h)) for h in early])
    with counted() as used:
        evaluate([loss])
    assert used["h2d"] == 1 and used["d2h"] == 0 and used["syncs"] == 0


def test_launches_do_not_depend_on_the_number_of_examples() -> None:
    counts = []
    for many in (2, 12):
        net = Recurrent("cuda")
        loss = net.loss([4] * many)
        with counted() as forward:
            evaluate([loss])
        with counted() as backward:
            loss.backward()
        counts.append((forward["launches"], backward["launches"]))
    assert counts[0] == counts[1]


def test_values_of_many_expressions_come_in_few_copies() -> None:
    net = Recurrent("cuda")
    states = net.states([1, 2, 3, 4, 5])
    evaluate(states)
    with counted() as used:
        found = ln.values(states)
    assert used["d2h"] == 1 and used["syncs"] == 1
    assert all((a == b.value()).all() for a, b in zip(found, states))


# Too large


POOL = pytest.mark.skipif(
    os.environ.get("CUDA_EMULATOR_MEMCHECK") == "1",
    reason="memory comes from no pool where every access is checked, and is not limited",
)


@POOL
def test_what_does_not_fit_is_named_with_its_sizes() -> None:
    """Also where its bytes are a multiple of 2^64, of which CuPy would make none."""
    with ln.use_device("cuda"):
        for side in (10**6, 2**31):
            x = ln.broadcast_to(ln.constant(1.0), (side, side))
            with pytest.raises(ln.OutOfMemoryError, match=r"shape .* needs \d+\.\d\d GB.*GPU has"):
                (x * x).value()


@POOL
def test_out_of_memory_is_an_error_with_sizes_and_leaves_the_model_usable() -> None:
    pytest.importorskip("cuda_emulator")
    program = """
        import lazynet as ln
        import numpy as np

        model = ln.Model(device="cuda")
        w = model.parameter(1000)
        x = ln.constant(np.ones((4000, 1000), np.float32), batched=True)
        try:
            ln.sum_batch(ln.squared_norm(ln.tanh(x * w))).backward()
        except ln.OutOfMemoryError as error:
            text = str(error)
            assert "GB" in text and "fewer examples" in text, text
        else:
            raise AssertionError("it fits")
        assert not w.has_gradient()
        opt = ln.optim.Adam(model)
        x = ln.constant(np.ones((100, 1000), np.float32), batched=True)
        for _ in range(3):
            ln.sum_batch(ln.squared_norm(ln.tanh(x * w))).backward()
            opt.step()
        try:
            model.lookup(30_000, 1000)
        except ln.OutOfMemoryError as error:
            assert "GB" in str(error) and "parameter '/lookup_0'" in str(error), error
        else:
            raise AssertionError("it fits")
        print("usable")
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "CUDA_EMULATOR_MEMORY_MB": "40"},
        capture_output=True,
        text=True,
    )
    assert run.stdout == "usable\n", run.stderr
