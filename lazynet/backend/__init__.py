"""Array primitives of the executor: gather, scatter-add, segment reductions.

This package is the only place that imports cupy.
"""

from lazynet.backend.devices import (
    CPU,
    as_device_array,
    device_is_full,
    device_name,
    device_of,
    gpu_description,
    gpu_in_use,
    is_device_array,
    module_of,
    on_device,
    synchronize,
    to_device,
    to_host,
)
from lazynet.backend.pool import uninitialised
from lazynet.backend.rows import (
    add_rows,
    beside,
    fill,
    join,
    mirrored,
    norms,
    part,
    pick_rows,
    put_rows,
    scatter_add,
    segment_ids,
    segment_max,
    segment_sum,
    take_rows,
)
from lazynet.backend.sparse import SparseRows, coalesce
from lazynet.backend.threads import product_workers, run_blocks, workers

__all__ = [
    "CPU",
    "SparseRows",
    "add_rows",
    "as_device_array",
    "beside",
    "coalesce",
    "device_is_full",
    "device_name",
    "gpu_description",
    "device_of",
    "fill",
    "gpu_in_use",
    "is_device_array",
    "join",
    "mirrored",
    "module_of",
    "norms",
    "on_device",
    "part",
    "pick_rows",
    "product_workers",
    "put_rows",
    "run_blocks",
    "scatter_add",
    "segment_ids",
    "segment_max",
    "segment_sum",
    "synchronize",
    "take_rows",
    "to_device",
    "to_host",
    "uninitialised",
    "workers",
]
