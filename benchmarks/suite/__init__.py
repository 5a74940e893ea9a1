"""The tasks of the published DyNet benchmarks: lazynet, DyNet, PyTorch and the bare products.

Besides, some that must see a value before they can go on (`following`).

    python -m benchmarks.suite --help

`data` makes the minibatches, `tasks` holds one module per task (its equations, its weights, and one
model per system), `worker` times one setting in a process of its own, `driver` runs the settings,
`report` writes the table and the plots.
"""

import sys
from pathlib import Path

# In a checkout, `python -m` would find the sources before an installed, compiled lazynet.
_ROOT = str(Path(__file__).resolve().parent.parent.parent)
sys.path.sort(key=lambda entry: str(Path(entry).resolve()) == _ROOT)
