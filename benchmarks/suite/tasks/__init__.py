"""One module per task: equations, data, weights, a model per system, products."""

from benchmarks.suite.tasks import characters, language, tagger, tree

TASKS = {module.TASK.name: module.TASK for module in (tagger, characters, language, tree)}
