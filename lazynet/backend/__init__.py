"""Array primitives of the executor: gather, scatter-add, segment reductions.

This package is the only place that imports cupy.
"""

from lazynet.backend.host import (
    add_rows,
    scatter_add,
    segment_ids,
    segment_max,
    segment_sum,
    take_rows,
)
from lazynet.backend.pool import uninitialised
from lazynet.backend.sparse import SparseRows, coalesce
from lazynet.backend.threads import product_workers, run_blocks, workers

__all__ = [
    "SparseRows",
    "add_rows",
    "coalesce",
    "product_workers",
    "run_blocks",
    "scatter_add",
    "segment_ids",
    "segment_max",
    "segment_sum",
    "take_rows",
    "uninitialised",
    "workers",
]
