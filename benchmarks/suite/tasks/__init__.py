"""One module per task: equations, data, weights, a model per system, products."""

from benchmarks.suite.tasks import (
    attention,
    characters,
    greedy,
    language,
    lattice,
    parser,
    parser_following,
    tagger,
    tree,
)

MODULES = (
    tagger,
    characters,
    language,
    tree,
    parser,
    lattice,
    parser_following,
    attention,
    greedy,
)
TASKS = {module.TASK.name: module.TASK for module in MODULES}
