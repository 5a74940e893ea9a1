"""One module per task: equations, data, weights, a model per system, products."""

from benchmarks.suite.tasks import tree

TASKS = {module.TASK.name: module.TASK for module in (tree,)}
