"""Whether printed code should be Numba's: one LSTM step, forward and backward, in several forms.

    OPENBLAS_NUM_THREADS=1 python benchmarks/step.py [--rows 16,64] [--hidden 50] [--rounds 15]
        [--device cuda]

Microseconds of CPU time per call, float32, the versions in turn in every round:

* columns: gates as column slices of one array, NumPy with `out=`;
* printed: what lazynet prints for `ln.nn.LSTM`; in "parts" without its products;
* njit: all in one loop over planes, `math.tanh` included (vectorised only where Numba has SVML);
* njit, np.tanh: NumPy's tanh, Numba for what is between; one loop for all of backward;
* same, fast: with `fastmath`, which may divide the loop otherwise;
* strips: in strips of 1,024 elements, a loop for each result, so that few arrays meet in a loop;
* vectorize: NumPy's tanh, and a ufunc by `numba.vectorize` for each result.

"step" adds the products of NumPy to each, and their sums, by Numba where the loops are; not the
gradients of weights, which are made once for all batches. Figures are medians, and the middle half
of rounds; "x" is the median over rounds of the time of printed code by that of this one. Results
must agree to 1e-5. Without Numba (`pip install numba`) the first two are measured.

With `--device cuda` the step is that of the GPU: what lazynet prints in CUDA C, with its products,
beside the gates as columns in CuPy, an operation a launch. Times are those of the clock then, over
calls that are started one after the other, until the GPU is done.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from waiting import add_device, wait

import lazynet as ln
from lazynet.backend import on_device, to_device, to_host

Array = np.ndarray[Any, Any]
Pair = tuple[Callable[[], object], Callable[[], object]]


class Step:
    """Data of a step, and the operation that lazynet runs it by."""

    def __init__(self, rows: int, n: int, device: str = "cpu") -> None:
        rng = np.random.default_rng(0)
        model = ln.Model(seed=0, device=device)

        def draw(*shape: int) -> Array:
            return to_device(rng.standard_normal(shape, np.float32), model.device)

        self.rows, self.n = rows, n
        self.layer = ln.nn.LSTM(model, n, n)  # kept alive: its functions are not
        cell: Any = self.layer.cells[0]
        zeros = np.zeros(n, np.float32)
        cell.step(zeros, (zeros, zeros))
        (signature,) = cell.step.training.values()
        (program,) = signature.programs.values()
        op = program.op if device == "cpu" else program.op.on_device()
        self.x, self.h, self.c = draw(rows, n), draw(rows, n), draw(rows, n)
        self.W, self.U, self.b = (p.values for p in (cell.W, cell.U, cell.b))
        self.seeds = [draw(rows, n) for _ in range(3)]
        self.args = [self.x, self.h, self.c]
        self.outputs = [np.empty_like(self.c) for _ in range(3)]
        leaves = [leaf.values for leaf in program.leaves]
        shared = [None, None, None, *leaves]
        self.work = op.workspace(rows, rows, shared, self.outputs)
        self.wide = self.x @ self.W.T + self.h @ self.U.T + self.b
        if device != "cpu":
            self.payload = op.ahead(None, None, rows)
            self.op, self.shared = op, shared
            return
        self.forward = op.code()
        self.back = op.backspace(self.work, [True] * len(shared), self.seeds)
        self.backward = op.back_code(((True,) * 3, self.back.nodes))
        op.run(self.work, 0, rows, [*self.args, *leaves], None, None)
        op.reverse(self.back, 0, rows, [*self.args, *leaves], [True] * len(shared), None, None)
        (self.ran,) = self.back.ran.values()
        self.z = np.empty((4, rows, n), np.float32)
        scale = np.array([0.5, 0.5, 0.5, 1], np.float32)[:, None, None]
        self.z[:] = self.wide.reshape(rows, 4, n).transpose(1, 0, 2) * scale


def printed(s: Step) -> tuple[Pair, Pair, list[Array]]:
    """The printed code without its products, and with them."""
    lines = s.forward.source.split("\n")
    at = next(k for k, line in enumerate(lines) if "np.tanh(" in line)
    kept = [line for line in lines[:at] if not re.search(r"matmul|np\.add|^ *t\d+ =", line)]
    kept.append(lines[at].replace("np.tanh(v0", "np.tanh(z"))
    forward = function([*kept, *lines[at + 1 :]], z=s.z)
    drop = r"matmul|np\.add\.reduce|^ *t\d+ ="
    back = [line for line in s.backward.source.split("\n") if not re.search(drop, line)]
    backward = function(back)
    w, n = s.work, s.rows
    early = (0, n, s.args, s.outputs, None, {})
    late = (0, n, s.args, s.outputs, w.keep, s.seeds, s.ran.residues, {}, {})
    parts = (lambda: forward(w, *early), lambda: backward(s.ran, *late))
    whole = (lambda: s.forward.run(w, *early), lambda: s.backward.run(s.ran, *late))
    return parts, whole, [s.outputs[0], s.outputs[2], s.ran.residues[0]]


def printed_cuda(s: Step) -> tuple[Pair | None, Pair, list[Any]]:
    """What is printed in CUDA C, with its products."""
    op, work, shared = s.op, s.work, s.shared
    args, needs = [*s.args, *shared[3:]], [True] * 3 + [False] * len(shared[3:])
    back = op.backspace(work, needs, s.seeds)
    found: list[Any] = []

    def step() -> None:
        op.run(work, 0, s.rows, args, s.payload, None)

    def step_back() -> None:
        found[:] = op.reverse(back, 0, s.rows, args, needs, None, None)[:3]
        back.ran.clear()

    step()
    step_back()
    return None, (step, step_back), [s.outputs[0], s.outputs[2], None, *found[:2]]


def function(lines: list[str], **scope: Any) -> Callable[..., Any]:
    space = {"np": np, "matmul": np.matmul, "copyto": np.copyto, **scope}
    exec("\n".join(lines), space)
    return space["run_rows"]


def columns(s: Step) -> tuple[Pair, Pair, list[Array]]:
    n, c, wide = s.n, s.c, s.wide
    z, gates, dz = (np.empty_like(wide) for _ in range(3))
    i, f, o, g = (gates[:, k * n : (k + 1) * n] for k in range(4))
    di, df, do, dg = (dz[:, k * n : (k + 1) * n] for k in range(4))
    sigmoids, dsigmoids = gates[:, : 3 * n], dz[:, : 3 * n]
    h, new, tanh_c, t, dh, dc, dx, dprev = (np.empty_like(c) for _ in range(8))
    t3 = np.empty_like(sigmoids)
    again = np.empty_like(z)

    def forward(z: Array) -> None:
        np.negative(z[:, : 3 * n], sigmoids)
        np.exp(sigmoids, sigmoids)
        np.add(sigmoids, 1, sigmoids)
        np.reciprocal(sigmoids, sigmoids)
        np.tanh(z[:, 3 * n :], g)
        np.multiply(f, c, new)
        np.multiply(i, g, t)
        np.add(new, t, new)
        np.tanh(new, tanh_c)
        np.multiply(o, tanh_c, h)

    def backward() -> None:
        np.add(s.seeds[0], s.seeds[1], dh)
        np.multiply(dh, tanh_c, do)
        np.multiply(dh, o, dc)
        np.square(tanh_c, t)
        np.subtract(1, t, t)
        np.multiply(dc, t, dc)
        np.add(dc, s.seeds[2], dc)
        np.multiply(dc, g, di)
        np.multiply(dc, c, df)
        np.subtract(1, sigmoids, t3)
        np.multiply(t3, sigmoids, t3)
        np.multiply(dsigmoids, t3, dsigmoids)
        np.square(g, t)
        np.subtract(1, t, t)
        np.multiply(dc, i, dg)
        np.multiply(dg, t, dg)
        np.multiply(dc, f, dc)

    def step() -> None:
        np.matmul(s.x, s.W.T, z)
        np.matmul(s.h, s.U.T, again)
        np.add(z, again, z)
        np.add(z, s.b, z)
        forward(z)

    def step_back() -> None:
        backward()
        np.matmul(dz, s.W, dx)
        np.matmul(dz, s.U, dprev)

    planes = dz.reshape(s.rows, 4, n).transpose(1, 0, 2)
    return (lambda: forward(wide), backward), (step, step_back), [h, new, planes, dx, dprev]


Maker = Callable[[Step, Array], tuple[Callable[[Array], None], Callable[[], None], list[Array]]]


class NumpySums:
    """How sums of products are made: by the calls of printed code."""

    @staticmethod
    def onto(z: Array, t: Array, b: Array) -> None:
        np.add(z, t, z)
        np.add(z, b, z)

    @staticmethod
    def total(t: Array, out: Array) -> None:
        np.add.reduce(t, 0, None, out)


class LoopSums:
    """The same in loops."""

    def __init__(self, jit: Any) -> None:
        @jit
        def onto(z: Any, t: Any, b: Any) -> None:
            for p in range(4):
                bias = b[p, 0]
                for row in range(z.shape[1]):
                    out, other = z[p, row], t[p, row]
                    for e in range(out.size):
                        out[e] += other[e] + bias[e]

        @jit
        def total(t: Any, out: Any) -> None:
            y = out.reshape(-1)
            i, f, o, g = t[0].reshape(-1), t[1].reshape(-1), t[2].reshape(-1), t[3].reshape(-1)
            for e in range(y.size):
                y[e] = i[e] + f[e] + o[e] + g[e]

        self.onto, self.total = onto, total


def with_products(s: Step, make: Maker, sums: Any) -> tuple[Pair, Pair, list[Array]]:
    """A Numba version, alone and with products as printed code has them."""
    rows, n = s.rows, s.n
    dz = np.empty((4, rows, n), np.float32)
    forward, backward, results = make(s, dz.reshape(4, -1))
    z, again = np.empty_like(s.z), np.empty_like(s.z)
    flat, given = z.reshape(4, -1), s.z.reshape(4, -1)
    w0, w1, b = s.work.prepared
    back0, back1 = s.ran.prepared
    dx, dh = np.empty_like(s.x), np.empty_like(s.x)

    def step() -> None:
        np.matmul(s.x, w0, z)
        np.matmul(s.h, w1, again)
        sums.onto(z, again, b)
        forward(flat)

    def step_back() -> None:
        backward()
        for w, out in ((back0, dx), (back1, dh)):
            np.matmul(dz, w, again)
            sums.total(again, out)

    return (lambda: forward(given), backward), (step, step_back), [*results, dz]


def one_loop(jit: Any, strips: bool, tanh: bool) -> Maker:
    """Loops over planes: all results in one, or each in its own over a strip that stays in L1."""
    length = 1024 if strips else 1 << 62

    @jit
    def all_at_once(z: Any, k: Any, c: Any, new: Any, tanh_c: Any, h: Any, h2: Any) -> None:
        for e in range(c.size):
            i = np.float32(0.5) * math.tanh(z[0, e]) + np.float32(0.5)
            f = np.float32(0.5) * math.tanh(z[1, e]) + np.float32(0.5)
            o = np.float32(0.5) * math.tanh(z[2, e]) + np.float32(0.5)
            g = math.tanh(z[3, e])
            k[0, e], k[1, e], k[2, e], k[3, e] = i, f, o, g
            new[e] = f * c[e] + i * g
            tanh_c[e] = math.tanh(new[e])
            h[e] = h2[e] = o * tanh_c[e]

    @jit
    def memory(lo: int, hi: int, k: Any, c: Any, new: Any) -> None:
        half = np.float32(0.5)
        for start in range(lo, hi, length):
            stop = min(hi, start + length)
            i, f, o, g = k[0, start:stop], k[1, start:stop], k[2, start:stop], k[3, start:stop]
            was, now = c[start - lo : stop - lo], new[start:stop]
            if strips:
                for gate in (i, f, o):
                    for e in range(gate.size):
                        gate[e] = half * gate[e] + half
                for e in range(now.size):
                    now[e] = f[e] * was[e] + i[e] * g[e]
            else:
                for e in range(now.size):
                    i[e] = half * i[e] + half
                    f[e] = half * f[e] + half
                    o[e] = half * o[e] + half
                    now[e] = f[e] * was[e] + i[e] * g[e]

    @jit
    def output(lo: int, hi: int, k: Any, tanh_c: Any, h: Any, h2: Any) -> None:
        o, th, y, y2 = k[2, lo:hi], tanh_c[lo:hi], h[lo:hi], h2[lo:hi]
        for e in range(o.size):
            y[e] = y2[e] = o[e] * th[e]

    @jit
    def back(
        lo: int, hi: int, d0: Any, d1: Any, d2: Any, k: Any, c: Any, tanh_c: Any, dz: Any, dc: Any
    ) -> None:
        one = np.float32(1)
        for start in range(lo, hi, length):
            stop = min(hi, start + length)
            i, f, o, g = k[0, start:stop], k[1, start:stop], k[2, start:stop], k[3, start:stop]
            di, df, do, dg = (
                dz[0, start:stop], dz[1, start:stop], dz[2, start:stop], dz[3, start:stop]
            )  # fmt: skip
            x0, x1, x2 = d0[start:stop], d1[start:stop], d2[start:stop]
            was, th = c[start - lo : stop - lo], tanh_c[start:stop]
            total = dc[start - lo : stop - lo]
            if strips:
                for e in range(th.size):
                    do[e] = x0[e] + x1[e]
                for e in range(th.size):
                    total[e] = x2[e] + do[e] * o[e] * (one - th[e] * th[e])
                for e in range(th.size):
                    do[e] = do[e] * th[e] * (o[e] * (one - o[e]))
                for e in range(th.size):
                    di[e] = total[e] * g[e] * (i[e] * (one - i[e]))
                for e in range(th.size):
                    df[e] = total[e] * was[e] * (f[e] * (one - f[e]))
                for e in range(th.size):
                    dg[e] = total[e] * i[e] * (one - g[e] * g[e])
                for e in range(th.size):
                    total[e] = total[e] * f[e]
            else:
                for e in range(th.size):
                    dh = x0[e] + x1[e]
                    t = x2[e] + dh * o[e] * (one - th[e] * th[e])
                    do[e] = dh * th[e] * (o[e] * (one - o[e]))
                    di[e] = t * g[e] * (i[e] * (one - i[e]))
                    df[e] = t * was[e] * (f[e] * (one - f[e]))
                    dg[e] = t * i[e] * (one - g[e] * g[e])
                    total[e] = t * f[e]

    def make(s: Step, dz: Array) -> Any:
        k = np.empty((4, s.c.size), np.float32)
        new, tanh_c, h, h2, dc = (np.empty(s.c.size, np.float32) for _ in range(5))
        seeds = [d.reshape(-1) for d in s.seeds]

        def forward(z: Array) -> None:
            lo, hi = 0, s.c.size
            c = s.c.reshape(-1)
            if not tanh:
                all_at_once(z, k, c, new, tanh_c, h, h2)
                return
            np.tanh(z[:, lo:hi], k[:, lo:hi])
            memory(lo, hi, k, c, new)
            np.tanh(new[lo:hi], tanh_c[lo:hi])
            output(lo, hi, k, tanh_c, h, h2)

        def backward() -> None:
            back(0, s.c.size, *seeds, k, s.c.reshape(-1), tanh_c, dz, dc)

        results = [h.reshape(s.c.shape), new.reshape(s.c.shape)]
        return forward, backward, results

    return make


def ufuncs(numba: Any) -> Maker:
    """A ufunc for each result."""

    def ufunc(f: Any) -> Any:
        names = f.__code__.co_argcount
        return numba.vectorize([f"float32({', '.join(['float32'] * names)})"])(f)

    half, one = np.float32(0.5), np.float32(1)
    gate = ufunc(lambda t: half * t + half)
    memory = ufunc(lambda i, f, g, c: f * c + i * g)
    total = ufunc(lambda a, b, d, o, t: d + (a + b) * o * (one - t * t))
    through_o = ufunc(lambda a, b, t, o: (a + b) * t * (o * (one - o)))
    through = ufunc(lambda d, other, s: d * other * (s * (one - s)))
    through_g = ufunc(lambda d, i, g: d * i * (one - g * g))

    def make(s: Step, dz: Array) -> Any:
        k = np.empty((4, s.c.size), np.float32)
        gates, (i, f, o, g) = k[:3], k
        di, df, do, dg = dz
        new, tanh_c, h, h2, dc = (np.empty(s.c.size, np.float32) for _ in range(5))
        c, (d0, d1, d2) = s.c.reshape(-1), [d.reshape(-1) for d in s.seeds]

        def forward(z: Array) -> None:
            np.tanh(z, k)
            gate(gates, gates)
            memory(i, f, g, c, new)
            np.tanh(new, tanh_c)
            np.multiply(o, tanh_c, h)
            np.copyto(h2, h)

        def backward() -> None:
            total(d0, d1, d2, o, tanh_c, dc)
            through_o(d0, d1, tanh_c, o, do)
            through(dc, g, i, di)
            through(dc, c, f, df)
            through_g(dc, i, g, dg)
            np.multiply(dc, f, dc)

        return forward, backward, [h.reshape(s.c.shape), new.reshape(s.c.shape)]

    return make


def numba_makers() -> dict[str, tuple[Maker, Any]]:
    if not importlib.util.find_spec("numba"):
        print("Numba is not installed (pip install numba): NumPy's versions only")
        return {}
    import numba

    print(
        f"Numba {numba.__version__}, SVML {'in use' if numba.config.USING_SVML else 'not in use'}"
    )
    exact = numba.njit(error_model="numpy")
    fast = numba.njit(error_model="numpy", fastmath=True)
    return {
        "njit": (one_loop(exact, False, False), LoopSums(exact)),
        "njit, np.tanh": (one_loop(exact, False, True), LoopSums(exact)),
        "same, fast": (one_loop(fast, False, True), LoopSums(fast)),
        "strips": (one_loop(exact, True, True), LoopSums(exact)),
        "strips, fast": (one_loop(fast, True, True), LoopSums(fast)),
        "vectorize": (ufuncs(numba), NumpySums),
    }


def compare(
    rows: int, n: int, makers: dict[str, tuple[Maker, Any]], rounds: int, device: str
) -> None:
    s = Step(rows, n, device)
    versions: dict[str, tuple[Pair | None, Pair, list[Any]]]
    if device == "cpu":
        versions = {"printed": printed(s), "columns": columns(s)}
    else:
        versions = {"printed": printed_cuda(s), "columns": columns(s)}
    for name, (make, sums) in makers.items():
        versions[name] = with_products(s, make, sums)
    levels = {"parts": 0, "step": 1} if device == "cpu" else {"step": 1}
    known = [None if x is None else to_host(x) for x in versions["printed"][2]]
    for level in levels.values():
        for version in versions.values():
            forward, backward = version[level]  # type: ignore[misc]
            forward()
            backward()
        for name, (*_, results) in versions.items():
            for mine, right in zip(results, known):
                if right is None:  # it makes none, or only within a larger array
                    continue
                np.testing.assert_allclose(to_host(mine), right, 1e-4, 1e-5, err_msg=name)
    print(f"\n{rows} rows, hidden {n}")
    titles = [(level, k) for level in levels.values() for k in range(2)]
    heads = [f"{level} {way}" for level in levels for way in ("forward", "backward")]
    print(f"{'':<14}" + "".join(f"{head:>29}" for head in heads))
    times = {name: [[] for _ in titles] for name in versions}
    for _ in range(rounds):
        for at, (level, k) in enumerate(titles):
            for name, version in versions.items():
                times[name][at].append(timed(version[level][k], device))  # type: ignore[index]
    for name, columns_ in times.items():
        cells = [shown(mine, known) for mine, known in zip(columns_, times["printed"])]
        print(f"{name:<14}" + "".join(f"{cell:>29}" for cell in cells), flush=True)


def timed(call: Callable[[], object], device: str = "cpu") -> float:
    """Microseconds a call, over some three milliseconds."""
    clock = time.thread_time if device == "cpu" else time.perf_counter
    start = clock()
    call()
    wait(device)
    count = max(3, min(200, int(3e-3 / max(1e-6, clock() - start))))
    start = clock()
    for _ in range(count):
        call()
    wait(device)
    return 1e6 * (clock() - start) / count


def shown(mine: list[float], known: list[float]) -> str:
    low, middle, high = statistics.quantiles(mine, n=4)
    ratio = statistics.median(k / m for k, m in zip(known, mine))
    return f"{middle:.1f} ({low:.1f}-{high:.1f}) {ratio:.2f}x"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="16,64,256,1024")
    parser.add_argument("--hidden", default="50,256")
    parser.add_argument("--rounds", type=int, default=15)
    add_device(parser)
    options = parser.parse_args()
    device = ln.Model(device=options.device).device
    makers = numba_makers() if device == "cpu" else {}
    with on_device(device):
        for n in map(int, options.hidden.split(",")):
            for rows in map(int, options.rows.split(",")):
                compare(rows, n, makers, options.rounds, device)


if __name__ == "__main__":
    main()
