"""The programs of tests/dynet/programs, timed in DyNet's wheel and in `lazynet.dynet`.

    make bench-dynet
    make bench-dynet ARGS="--rounds 5 --programs tagger tree_lstm"

Each round runs every program in each system, one after the other, as processes of their own with
one thread: once for `WARM` updates and once for more. The difference is what an update takes once
everything has been used for the first time; what the first ones take besides is printed too. The
wheel runs with autobatching off and on. Ratios are medians of ratios within a round, to the better
setting of the wheel: above 1, lazynet is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from waiting import add_device

PROGRAMS = Path(__file__).resolve().parent.parent / "tests" / "dynet" / "programs"
UPDATES = {"xor": 2000, "static_graph": 2000, "policy_gradient": 200, "convolutions": 20}
WARM = 10


def seconds(command: list[str], program: str, weights: Path, updates: int, *flags: str) -> float:
    """What a program says its updates took."""
    environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        environment.pop(name, None)
    path = str(PROGRAMS / f"{program}.py")
    found = subprocess.run(
        [*command, path, str(weights), str(updates), "full", *flags],
        capture_output=True,
        text=True,
        env=environment,
        cwd=weights.parent,
    )
    if found.returncode:
        sys.exit(f"{program}: {found.stderr[-2000:]}")
    lines = [line.split() for line in found.stdout.splitlines()]
    return next(float(line[1]) for line in lines if line and line[0] == "seconds")


def launcher(device: str) -> list[str]:
    """Arguments for Python that run a program of DyNet's with lazynet, on a device."""
    if device == "cpu":
        return ["-m", "lazynet.dynet"]
    run = "runpy.run_module('lazynet.dynet', run_name='__main__', alter_sys=True)"
    return ["-c", f"import runpy, lazynet\nwith lazynet.use_device({device!r}): {run}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--updates", type=int, default=60, help="where a program has no own number")
    parser.add_argument("--wheel", default=sys.executable, help="Python that has the wheel")
    parser.add_argument("--lazynet", default=sys.executable, help="Python that has lazynet")
    parser.add_argument("--programs", nargs="*")
    add_device(parser)
    options = parser.parse_args()
    names = options.programs or sorted(path.stem for path in PROGRAMS.glob("*.py"))
    heads = f"{'off ms':>9}{'on ms':>9}{'lazynet ms':>12}{'first ms':>10}{'ratio':>8}"
    print(f"{'program':26}{'updates':>8}{heads}")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            weights = Path(folder) / name
            updates = UPDATES.get(name, options.updates)
            systems = {
                "off": [[options.wheel], "--dynet-autobatch", "0"],
                "on": [[options.wheel], "--dynet-autobatch", "1"],
                "lazynet": [[options.lazynet, *launcher(options.device)]],
            }
            seconds([options.wheel], name, weights, 0)
            times: dict[str, list[float]] = {key: [] for key in systems}
            first = []
            for _ in range(options.rounds):
                for key, (command, *flags) in systems.items():
                    memory = ["--dynet-mem", "2000"] if flags else []
                    run = [command, name, weights]
                    warm = seconds(*run, WARM, *flags, *memory)
                    taken = seconds(*run, WARM + updates, *flags, *memory)
                    times[key].append(1e3 * (taken - warm) / updates)
                    if key == "lazynet":
                        first.append(1e3 * warm - WARM * times[key][-1])
            ratios = [
                min(off, on) / mine
                for off, on, mine in zip(times["off"], times["on"], times["lazynet"])
            ]
            off, on, mine = (statistics.median(times[key]) for key in systems)
            spread = f"{min(ratios):.2f}-{max(ratios):.2f}"
            print(
                f"{name:26}{updates:8}{off:9.3f}{on:9.3f}{mine:12.3f}"
                f"{statistics.median(first):10.0f}{statistics.median(ratios):8.2f}  ({spread})",
                flush=True,
            )


if __name__ == "__main__":
    main()
