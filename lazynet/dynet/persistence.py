"""`save`, `load` and `load_generator`: lists of parameters, tables and builders.

``name.data`` holds the numbers in DyNet's text format, ``name.meta`` a pickle for each object: what
it is, for a builder what `from_spec` takes, and the name it has in the other file.

Unpickling can run any code. Here it runs none: classes are only named, and looked up afterwards
among the builders and the classes of the program that can be built from a spec; there is nothing
to call.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from lazynet.dynet.collection import ParameterCollection
from lazynet.dynet.expression import short
from lazynet.dynet.files import (
    ModelFileError,
    Reader,
    Writer,
    checked_name,
    opened,
    reader_to,
)
from lazynet.dynet.parameters import LookupParameters, Parameters

_DYNET = "_dynet"
"""The module that DyNet's own classes are pickled under."""
_HERE = __name__.rpartition(".")[0]


def _pickled(description: tuple[Any, ...]) -> bytes:
    """A pickle that names the classes of this package as DyNet names its own."""
    data = pickle.dumps(description, 3)  # later protocols name classes in two pieces, and in frames
    pieces = []
    operations = [(op.name, arg, start) for op, arg, start in pickletools.genops(data)]
    ends = [start for _, _, start in operations[1:]] + [len(data)]
    for (name, arg, start), end in zip(operations, ends):
        piece = data[start:end]
        if name == "GLOBAL":
            module, _, own = str(arg).rpartition(" ")
            if module == _HERE or module.startswith(f"{_HERE}."):
                piece = pickle.GLOBAL + f"{_DYNET}\n{own}\n".encode()
        pieces.append(piece)
    return b"".join(pieces)


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle names. It cannot be changed, and calling it only raises."""

    module: str
    name: str

    def __call__(self, *_: Any) -> Any:
        raise pickle.UnpicklingError(f"it would call {self}")

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class _Unpickler(pickle.Unpickler):
    """Makes numbers, texts, tuples, lists, dicts and sets, and names of classes."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.named: list[_Name] = []

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle names, by its name alone; early protocols make sets by calling a class."""
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return set if name == "set" else frozenset
        found = _Name(module, name)
        self.named.append(found)
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Refused: DyNet writes none."""
        raise pickle.UnpicklingError(f"it refers to something outside: {pid!r}")


def save(basename: str, objects: Iterable[Any]) -> None:
    """Write parameters, tables and builders to ``basename.data`` and ``basename.meta``.

    Args:
        basename: Name of the two files, without what follows the dot.
        objects: Parameters, tables, builders, and objects of classes that have a
            `param_collection` method, a `spec`, and a static `from_spec(spec, collection)`.

    Raises:
        AttributeError: If an object is none of these.
        TypeError: If a spec cannot be pickled.
        ValueError: If two parameters have the same name.
        RuntimeError: If a file cannot be written.
    """
    base = checked_name(basename, "save")
    if not hasattr(objects, "__iter__"):
        raise TypeError(f"save: got {short(objects)}; it takes a list of parameters and builders")
    objects = list(objects)
    meta = io.BytesIO()
    for obj in objects:
        description = _described(obj)
        try:
            meta.write(_pickled(description))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise TypeError(
                f"save: {description[0]}: its spec cannot be pickled: {error}"
            ) from error
    with Writer(f"{base}.data", False, "save") as writer:
        for p, own in _distinct(objects):
            writer.write(p, own)
    with opened(f"{base}.meta", "wb", "save") as file:
        file.write(meta.getvalue())


def _distinct(objects: list[Any]) -> list[tuple[Parameters | LookupParameters, str]]:
    """The parameters and tables of some objects with their names in the file, each once.

    Raises:
        ValueError: If two have the same name; only one of them could be loaded.
    """
    found: dict[tuple[type, str], Parameters | LookupParameters] = {}
    for obj in objects:
        if isinstance(obj, (Parameters, LookupParameters)):
            members: list[Any] = [(obj, obj.name())]
        else:
            collection = obj.param_collection()
            own = [*collection.parameters, *collection.lookups]
            members = [*((p, p.name()) for p in own), *_outer(obj)]
        for p, name in members:
            if found.setdefault((type(p), name), p) is not p:
                raise ValueError(
                    f"save: two {type(p).__name__} are called {name!r}; they belong to different "
                    "collections; save them to different files, or make one collection a part of "
                    "the other"
                )
    return [(p, name) for (_, name), p in found.items()]


def _outer(obj: Any) -> list[tuple[Parameters, str]]:
    """Parameters of a builder outside its collection, with names that none in a collection has.

    DyNet forgets these. In its files they are missing, and in ours it does not look for them.
    """
    if not hasattr(obj, "outer_parameters"):
        return []
    path = obj.param_collection().name()
    return [(p, _outer_name(path, i)) for i, p in enumerate(obj.outer_parameters())]


def _outer_name(path: str, number: int) -> str:
    return f"/_outer{path}{number}"


def _described(obj: Any) -> tuple[Any, ...]:
    """What stands in the ``.meta`` file for an object."""
    if isinstance(obj, (Parameters, LookupParameters)):
        return type(obj).__name__, obj.name()
    cls = type(obj)
    for needed in ("spec", "from_spec", "param_collection"):
        if not hasattr(obj, needed):
            raise AttributeError(
                f"save: got {obj!r}, which has no {needed}; it takes parameters, tables, builders, "
                "and objects with a param_collection method, a spec, and a static from_spec"
            )
    return cls, obj.spec, obj.param_collection().name()


def load(basename: str, params: ParameterCollection) -> list[Any]:
    """Read what `save` wrote, into a collection.

    Args:
        basename: Name of the two files, without what follows the dot.
        params: What the objects are added to.

    Returns:
        The objects in the order they were given to `save`.

    Raises:
        RuntimeError: If a file is missing or damaged, or names a class that is not allowed. Only
            builders are, and classes of modules that are imported already with a `from_spec`.
    """
    return list(load_generator(basename, params))


def load_generator(basename: str, params: ParameterCollection) -> Iterator[Any]:
    """The same as `load`, but one object at a time.

    Args:
        basename: Name of the two files, without what follows the dot.
        params: What the objects are added to.
    """
    base = checked_name(basename, "load")
    if not isinstance(params, ParameterCollection):
        raise TypeError(f"load: got params={params!r}; it takes a ParameterCollection")
    meta = f"{base}.meta"
    entries = _entries(meta)
    with Reader(f"{base}.data", "load") as reader:
        for entry in entries:
            yield _loaded(entry, meta, reader, params)


def _entries(meta: str) -> list[tuple[Any, ...]]:
    """What a ``.meta`` file says, with classes looked up."""
    with opened(meta, "rb", "load") as file:
        data = file.read()
    stream = io.BytesIO(data)
    entries: list[tuple[Any, ...]] = []
    while stream.tell() < len(data):
        number = len(entries)
        unpickler = _Unpickler(stream)
        try:
            entry = unpickler.load()
        except Exception as error:  # damaged pickles raise whatever they run into
            names = f" (it names {', '.join(map(str, unpickler.named))})" if unpickler.named else ""
            raise ModelFileError(
                f"load: {meta}, object {number}: {error}{names}; the file is damaged, or holds "
                "more than parameters, builders and plain data; nothing in it was run"
            ) from error
        entries.append(_checked(entry, meta, number))
    return entries


def _checked(entry: Any, meta: str, number: int) -> tuple[Any, ...]:
    plain = isinstance(entry, tuple) and all(type(e) is str for e in entry)
    if plain and len(entry) == 2 and entry[0] in ("Parameters", "LookupParameters"):
        return tuple(entry)
    if (
        isinstance(entry, tuple)
        and len(entry) == 3
        and isinstance(entry[0], _Name)
        and type(entry[2]) is str
    ):
        try:
            return tuple(_resolved(part, f"load: {meta}, object {number}") for part in entry)
        except RecursionError:
            raise ModelFileError(
                f"load: {meta}, object {number}: its spec is nested too deeply, or holds itself"
            ) from None
    raise ModelFileError(
        f"load: {meta}, object {number}: got {entry!r}; each must be a parameter with its name, or "
        "a class with its spec and the name of its collection"
    )


def _resolved(part: Any, where: str) -> Any:
    """Data of a spec with the classes in place of their names."""
    if isinstance(part, _Name):
        return _class(part, where)
    if isinstance(part, (tuple, list, set, frozenset)):
        return type(part)(_resolved(p, where) for p in part)
    if isinstance(part, dict):
        return {_resolved(k, where): _resolved(v, where) for k, v in part.items()}
    return part


def _class(wanted: _Name, where: str) -> type:
    """The class of this name.

    Raises:
        ModelFileError: If it is none that can be built from a spec, or was not imported.
    """
    ours = wanted.module in (_DYNET, "dynet", _HERE) or wanted.module.startswith(f"{_HERE}.")
    module = sys.modules.get(_HERE if ours else wanted.module)
    found = vars(module).get(wanted.name) if module is not None else None
    if not isinstance(found, type) or not callable(getattr(found, "from_spec", None)):
        raise ModelFileError(
            f"{where}: it names {wanted}, which is refused: only builders are allowed, and classes "
            "with a from_spec in a module that is imported already; if it is such a class, import "
            "its module first"
        )
    return found


def _loaded(entry: tuple[Any, ...], meta: str, reader: Reader, params: ParameterCollection) -> Any:
    if entry[0] == "Parameters":
        return params.added(reader, entry[1])
    if entry[0] == "LookupParameters":
        return params.added_table(reader, entry[1])
    cls, spec, name = entry
    try:
        obj = cls.from_spec(spec, params)
    except Exception as error:
        raise ModelFileError(
            f"load: {meta}: {cls.__name__}.from_spec failed for spec {spec!r}: {error!r}"
        ) from error
    collection = obj.param_collection()
    reader_to(reader, collection.parameters, collection.lookups, name, once=True)
    outer = [p for p, _ in _outer(obj)]
    if outer and reader.has(_outer_name(name, 0), False):
        reader_to(reader, outer, [], _outer_name(name, 0)[:-1], once=True)
    return obj
