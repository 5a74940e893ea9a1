"""Run the tables in DyNet's wheel and store what it computes, or compare with what is stored.

pip install dynet38 numpy            # in a virtual environment of its own
python tests/dynet/record.py         # writes tests/dynet/data
python tests/dynet/record.py --check # compares instead
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":  # `dynet` is the wheel then, and not the folder of these tests
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE.parent]
    sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
import recording  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", help="default: all")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    options = parser.parse_args()
    sys.argv[1:] = []
    import dynet_config

    dynet_config.set(random_seed=1, mem="512")
    import dynet as dy

    versions = {
        "dynet38": importlib.metadata.version("dynet38"),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    for name, table in recording.tables().items():
        if options.tables and name not in options.tables:
            continue
        results = {case.name: recording.run(case, dy) for case in table.cases.values()}
        if options.check:
            stored = recording.load(name)
            assert sorted(stored) == sorted(results), f"{name}: other cases are stored"
            for case in table.cases.values():
                recording.compare(case, results[case.name], stored[case.name])
        else:
            recording.save(name, results, versions)
        print(f"{name}: {len(results)} cases")


if __name__ == "__main__":
    main()
