"""``python -m lazynet``: versions, the backends that were found, and a check of a second."""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import lazynet as ln
from lazynet import kinds
from lazynet.backend import gpu_description

PACKAGES = ("numpy", "scipy", "safetensors", "networkx", "matplotlib")
"""What lazynet uses where it is installed."""


class Network:
    """An LSTM that reads sequences of whole numbers, and tells which of three classes they are."""

    def __init__(self, device: str = "cpu", dtype: str = "float64") -> None:
        self.model = ln.Model(seed=0, device=device, dtype=dtype)
        self.embeddings = self.model.lookup(20, 8)
        self.lstm = ln.nn.LSTM(self.model, 8, 16)
        self.head = ln.nn.Linear(self.model, 16, 3)
        rng = np.random.default_rng(0)
        lengths = rng.integers(1, 12, 64)
        self.examples = [(rng.integers(0, 20, n).tolist(), int(n) % 3) for n in lengths]

    def loss(self) -> ln.Expression:
        """Mean cross-entropy of all examples, in nats."""
        losses = []
        for numbers, label in self.examples:
            _, (h, _) = self.lstm(self.embeddings[numbers])
            losses.append(ln.cross_entropy(self.head(h), label))
        return ln.mean(losses)

    def gradients(self) -> list[np.ndarray]:
        """The loss, and its gradients by all parameters."""
        self.model.zero_gradients()
        loss = self.loss()
        loss.backward()
        return [np.asarray(loss.value()), *[p.gradient() for p in self.model.parameters()]]


def batched_is_node_by_node() -> None:
    """Values and gradients do not depend on the batching."""
    network = Network()
    batched = network.gradients()
    with ln.no_autobatch():
        compare(batched, network.gradients(), 1e-10)


def gradients_are_right() -> None:
    """Gradients agree with finite differences."""
    network = Network()
    network.examples = network.examples[:4]
    ln.gradcheck(network.loss, [], list(network.model.parameters()))


def training_lowers_the_loss() -> None:
    """Ten updates on the same examples."""
    network = Network(dtype="float32")
    optimizer = ln.optim.Adam(network.model, lr=0.02)
    losses = []
    for _ in range(10):
        loss = network.loss()
        loss.backward()
        optimizer.step()
        losses.append(loss.value())
    if losses[-1] >= losses[0]:
        raise ln.LazynetError(f"the loss went from {losses[0]} to {losses[-1]}")


def files_hold_what_was_saved() -> None:
    """A model is saved and loaded."""
    network, other = Network(), Network()
    for p in other.model.parameters():
        p.array[...] = 0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        network.model.save(path)
        other.model.load(path)
    compare(network.gradients(), other.gradients(), 0)


def device_agrees_with_the_cpu() -> None:
    """Values and gradients on the first GPU are those of the CPU."""
    compare(Network().gradients(), Network("cuda").gradients(), 1e-10)


def compare(ours: list[np.ndarray], theirs: list[np.ndarray], tolerance: float) -> None:
    """Raise an error if arrays differ by more than that, relative to the largest number."""
    for a, b in zip(ours, theirs):
        difference = float(np.abs(a - b).max())
        if not difference <= tolerance * float(np.abs(a).max()):
            raise ln.LazynetError(f"two results differ by {difference}")


def speed() -> str:
    """What batching gains on this machine."""
    network = Network(dtype="float32")

    def seconds() -> float:
        start = time.perf_counter()
        network.gradients()
        return time.perf_counter() - start

    seconds()
    fast = min(seconds() for _ in range(5))
    with ln.no_autobatch():
        slow = seconds()
    n = len(network.examples)
    return f"{n / fast:,.0f} examples/s batched, {n / slow:,.0f} node by node"


def found_gpu() -> bool:
    """Print the name of the first GPU, or why there is none."""
    try:
        print(f"GPU          {gpu_description()}")
    except ln.DeviceError as error:
        print(f"GPU          none: {error}")
        return False
    return True


def main() -> int:
    """Print all of it; 1 if a check failed."""
    parser = argparse.ArgumentParser(prog="python -m lazynet", description=__doc__)
    parser.parse_args()
    compiled = not str(kinds.__file__).endswith(".py")
    print(f"lazynet      {ln.__version__}, {'compiled' if compiled else 'not compiled'}")
    print(f"Python       {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        try:
            print(f"{name:12} {version(name)}")
        except PackageNotFoundError:
            print(f"{name:12} not installed")
    checks: list[Callable[[], None]] = [
        batched_is_node_by_node,
        gradients_are_right,
        training_lowers_the_loss,
        files_hold_what_was_saved,
    ]
    if found_gpu():
        checks.append(device_agrees_with_the_cpu)
    print()
    failed = 0
    for check in checks:
        try:
            check()
            outcome = "ok"
        except Exception as error:  # whatever is wrong with this installation is what to show
            failed += 1
            outcome = f"FAILED: {type(error).__name__}: {error}"
        print(f"{check.__name__.replace('_', ' '):32} {outcome}")
    print(f"{'speed':32} {speed()}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
