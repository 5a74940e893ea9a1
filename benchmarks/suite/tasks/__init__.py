"""One module per task: equations, data, weights, a model per system, products."""

from benchmarks.suite.tasks import characters, language, lattice, parser, tagger, tree

MODULES = (tagger, characters, language, tree, parser, lattice)
TASKS = {module.TASK.name: module.TASK for module in MODULES}
