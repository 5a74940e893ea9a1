"""What belongs together in the API reference: the names of `lazynet` by theme."""

from __future__ import annotations

from types import ModuleType

THEMES = {
    "Models": ["parameters", "init", "nn", "optim"],
    "Expressions": ["graph", "inputs", "reading", "differentiate", "gradcheck"],
    "Modes": ["modes", "device", "randomness", "anomaly"],
    "Fewer, larger nodes": ["fuse"],
    "Programs that look at values": ["together", "search"],
    "What is batched, what it costs, and how it looks": ["plan", "inspect"],
    "Arithmetic": ["ops.arithmetic", "ops.functions"],
    "Activations": ["ops.activations", "ops.softmax"],
    "Products and matrices": ["ops.linalg"],
    "Shapes, parts and lists": ["ops.shape", "ops.columns", "ops.index"],
    "Reductions over one example": ["ops.reduce"],
    "Reductions over a batch": ["ops.segment", "ops.ragged"],
    "Losses": ["ops.loss"],
    "Normalisation": ["ops.norm"],
    "Convolution and pooling": ["ops.conv"],
    "Random values and dropout": ["ops.random"],
    "Operations of your own": ["kinds"],
    "Errors": ["errors"],
}
"""Titles, in the order of the page, and the modules (or packages) whose public names they hold."""

FIRST = ["Model", "Plan", "Op", "LazynetError"]
"""Names that others under the same title make sense after."""


def theme_of(package: ModuleType, name: str) -> str | None:
    """The title under which a public name of the package stands.

    Raises:
        LookupError: If its module has no theme.
    """
    thing = getattr(package, name)
    if isinstance(thing, str):  # the version stands at the top
        return None
    home: str = thing.__name__ if isinstance(thing, ModuleType) else thing.__module__
    inside = home.removeprefix(f"{package.__name__}.")
    for title, modules in THEMES.items():
        if any(inside == m or inside.startswith(f"{m}.") for m in modules):
            return title
    raise LookupError(f"{package.__name__}.{name} comes from {inside}: give it a title in THEMES")


def by_theme(package: ModuleType) -> dict[str, list[str]]:
    """The public names of the package, in the order of `THEMES`, `FIRST` and `__all__`."""
    found: dict[str, list[str]] = {title: [] for title in THEMES}
    for name in sorted(package.__all__, key=lambda name: name not in FIRST):
        title = theme_of(package, name)
        if title is not None:
            found[title].append(name)
    return found
