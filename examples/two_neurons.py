"""The smallest network: two sigmoid neurons in a row, and every derivative by hand.

    h = sigmoid(w1 x + b1),  yhat = sigmoid(w2 h + b2),  E = 1/2 (yhat - y)^2

Prints each partial derivative of E from `.gradient()` beside its formula by the chain rule, then
learns the one example that there is.
"""

from __future__ import annotations

import argparse
import math

from tqdm import tqdm

import lazynet as ln


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a few steps only")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:1; default: %(default)s")
    options = parser.parse_args()
    steps = 20 if options.smoke else options.steps

    model = ln.Model(seed=0, dtype="float64", device=options.device)
    w1 = model.parameter((), init=0.6, name="w1")
    b1 = model.parameter((), init=-0.2, name="b1")
    w2 = model.parameter((), init=-0.9, name="w2")
    b2 = model.parameter((), init=0.4, name="b2")
    x_value, y_value = 1.5, 1.0
    x = ln.constant(x_value, dtype="float64")

    z1 = w1 * x + b1
    h = ln.sigmoid(z1)
    z2 = w2 * h + b2
    yhat = ln.sigmoid(z2)
    error = 0.5 * ln.square(yhat - y_value)
    error.backward()

    def sigmoid(t: float) -> float:
        return 1 / (1 + math.exp(-t))

    hv = sigmoid(0.6 * x_value - 0.2)
    yv = sigmoid(-0.9 * hv + 0.4)
    d_yhat = yv - y_value
    d_z2 = d_yhat * yv * (1 - yv)
    d_h = d_z2 * -0.9
    d_z1 = d_h * hv * (1 - hv)
    rows = [
        ("dE/dyhat", yhat, d_yhat, "yhat - y"),
        ("dE/dz2", z2, d_z2, "dE/dyhat * yhat (1 - yhat)"),
        ("dE/dw2", w2, d_z2 * hv, "dE/dz2 * h"),
        ("dE/db2", b2, d_z2, "dE/dz2"),
        ("dE/dh", h, d_h, "dE/dz2 * w2"),
        ("dE/dz1", z1, d_z1, "dE/dh * h (1 - h)"),
        ("dE/dw1", w1, d_z1 * x_value, "dE/dz1 * x"),
        ("dE/db1", b1, d_z1, "dE/dz1"),
        ("dE/dx", x, d_z1 * 0.6, "dE/dz1 * w1"),
    ]
    print(f"h = {h.value():.6f}, yhat = {yhat.value():.6f}, E = {error.value():.6f}\n")
    print(f"{'':10}{'.gradient()':>14}{'by hand':>14}  by the chain rule")
    for name, expression, by_hand, formula in rows:
        print(f"{name:10}{float(expression.gradient()):14.8f}{by_hand:14.8f}  {formula}")

    model.zero_gradients()
    optimizer = ln.optim.SGD(model, lr=options.lr)
    for _ in tqdm(range(steps), desc="learning", unit="step"):
        yhat = ln.sigmoid(w2 * ln.sigmoid(w1 * x + b1) + b2)
        error = 0.5 * ln.square(yhat - y_value)
        error.backward()
        optimizer.step()
    print(f"\nafter {steps} steps: yhat = {yhat.value():.6f}, E = {error.value():.2e}")


if __name__ == "__main__":
    main()
