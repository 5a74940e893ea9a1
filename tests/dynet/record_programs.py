"""Run the programs in DyNet's wheel and store their starting weights and what they print.

python tests/dynet/record_programs.py            # writes tests/dynet/data/programs
python tests/dynet/record_programs.py --check    # compares instead
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
DATA = HERE / "data" / "programs"
UPDATES = 8


def run(command: list[str], program: str, weights: Path, *arguments: str) -> list[list[str]]:
    """The lines that a program prints, as words; those of other output are left out."""
    path = str(PROGRAMS / f"{program}.py")
    found = subprocess.run(
        [*command, path, str(weights), *arguments], capture_output=True, text=True, cwd=DATA
    )
    if found.returncode:
        raise RuntimeError(f"{program}: {found.stderr[-2000:]}")
    words = "loss answer text right greedy beam actions heads shape same loaded seconds".split()
    lines = [line.split() for line in found.stdout.splitlines()]
    return [line for line in lines if line and line[0] in words]


def without_seconds(lines: list[list[str]]) -> list[list[str]]:
    return [line for line in lines if line[0] != "seconds"]


def differences(got: list[list[str]], expected: list[list[str]], rtol: float = 1e-3) -> list[str]:
    """Lines that differ: numbers by more than `rtol`, anything else at all."""
    wrong = []
    if len(got) != len(expected):
        wrong.append(f"{len(got)} lines instead of {len(expected)}")
    for mine, right in zip(got, expected):
        same = len(mine) == len(right)
        for a, b in zip(mine, right):
            try:
                x, y = float(a), float(b)
                same &= abs(x - y) <= rtol * max(abs(y), 1e-2)
            except ValueError:
                same &= a == b
        if not same:
            wrong.append(f"{' '.join(mine)}    instead of    {' '.join(right)}")
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="*", help="default: all")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    DATA.mkdir(parents=True, exist_ok=True)
    wrong = []
    for path in sorted(PROGRAMS.glob("*.py")):
        name = path.stem
        if options.programs and name not in options.programs:
            continue
        weights = DATA / f"{name}.weights"
        stored = DATA / f"{name}.json"
        if not options.check:
            with tempfile.TemporaryDirectory() as folder:
                fresh = Path(folder) / "weights"
                run([sys.executable], name, fresh, "0")
                weights.write_bytes(fresh.read_bytes())
        lines = without_seconds(run([sys.executable], name, weights, str(UPDATES)))
        if options.check:
            found = differences(lines, json.loads(stored.read_text()))
            wrong += [f"{name}: {line}" for line in found]
        else:
            stored.write_text("[\n" + ",\n".join(map(json.dumps, lines)) + "\n]\n")
        print(f"{name}: {len(lines)} lines")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
