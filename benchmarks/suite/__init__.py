"""The tasks of the published DyNet benchmarks: lazynet, DyNet, PyTorch and the bare products.

    python -m benchmarks.suite --help

`data` makes the minibatches, `tasks` holds one module per task (its equations, its weights, and one
model per system), `worker` times one setting in a process of its own, `driver` runs the settings,
`report` writes the table and the plots.
"""
