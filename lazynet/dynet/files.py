"""DyNet's text format: for each parameter a line of what it is, one of values, one of gradients.

    #Parameter# /name {2,3} 97 ZERO_GRAD
    +1.00000000e+00 ...

The number is how many bytes follow until the next parameter. Values are in column-major order;
those of a table go row by row, and its dimensions have the number of rows last. After FULL_GRAD a
line of gradients follows that of values.
"""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from lazynet.backend import to_host
from lazynet.dynet.numerals import WIDTH, parsed, written
from lazynet.dynet.parameters import LookupParameters, Parameters
from lazynet.errors import FileError
from lazynet.kinds import Array

Trained = Parameters | LookupParameters
Dims = tuple[int, ...]

_DIMENSIONS = re.compile(r"\{((?:\d+(?:,\d+)*)?)\}")


class ModelFileError(FileError, RuntimeError):
    """A file that cannot be read or written, or does not hold what is wanted."""


class MissingFileError(ModelFileError, FileNotFoundError):
    """A file, or a folder to write to, that is not there."""


class MissingKeyError(ModelFileError, KeyError):
    """A parameter that is not in the file."""

    __str__ = Exception.__str__  # KeyError would quote the message


@dataclass(frozen=True)
class Block:
    """A parameter in a file.

    Attributes:
        lookup: Whether it is a table.
        name: Its name there.
        dims: Its dimensions as they stand there: of a table, the number of rows last.
        full: Whether its gradient is there.
        offset: Where its values begin, in bytes.
        line: Number of the line before them.
    """

    lookup: bool
    name: str
    dims: Dims
    full: bool
    offset: int
    line: int

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.dims)

    @property
    def shape(self) -> Dims:
        """Its shape in Python: of a table, the number of rows first."""
        return self.dims[-1:] + self.dims[:-1] if self.lookup else self.dims


@dataclass
class Content:
    """What a file says of a parameter: its values, and its gradient if there is one."""

    values: Array
    gradient: Array | None

    def put(self, p: Trained) -> None:
        """Take them over."""
        leaf = p.leaf
        leaf.values[...] = leaf.placed(self.values.reshape(leaf.shape))
        leaf.changed()
        leaf.clear_gradient()
        if self.gradient is None:
            return
        if isinstance(p, LookupParameters):
            gradient = self.gradient.reshape(leaf.shape)
            rows = np.flatnonzero(gradient.any(axis=tuple(range(1, gradient.ndim))))
            leaf.pending_rows = [(rows, leaf.placed(gradient[rows].reshape(len(rows), -1)))]
        else:
            leaf.pending = leaf.placed(self.gradient.reshape(leaf.shape))


class Reader:
    """A file, whose parameters can be read in any order.

    Args:
        fname: Its name.
        call: The function that errors name.

    Raises:
        ModelFileError: If it is not there or of another format.
    """

    def __init__(self, fname: Any, call: str) -> None:
        self.call = call
        self.fname = checked_name(fname, call)
        self._file = opened(self.fname, "rb", call)
        self.blocks: list[Block] = []
        self._found: dict[tuple[bool, str], Block] = {}
        try:
            self._scan()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def has(self, name: str, lookup: bool) -> bool:
        """Whether there is a parameter or table of this name."""
        return (lookup, name) in self._found

    def find(self, key: Any, lookup: bool) -> Block:
        """The parameter or table of this name; the first, if there are several.

        Raises:
            ValueError: If the name is empty.
            MissingKeyError: If there is none.
        """
        if not isinstance(key, str):
            raise TypeError(f"{self.call}: got key {key!r}; it must be a text")
        if not key:
            raise ValueError(
                f"{self.call}: got an empty key; it must be the name that the parameter has in "
                f"{self.fname}, such as {self.blocks[0].name if self.blocks else '/_0'!r}"
            )
        block = self._found.get((lookup, key))
        if block is None:
            kind = "LookupParameter" if lookup else "Parameter"
            known = [b.name for b in self.blocks if b.lookup == lookup]
            there = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "") or "none"
            raise MissingKeyError(
                f"{self.call}: could not find key {key!r} among the {kind}s in {self.fname}; "
                f"there are: {there}"
            )
        return block

    def read(self, block: Block) -> Content:
        """The numbers of a parameter.

        Raises:
            ModelFileError: If some are missing, or are no numbers.
        """
        self._file.seek(block.offset)
        values = self._numbers(block, 1)
        return Content(values, self._numbers(block, 2) if block.full else None)

    def _numbers(self, block: Block, below: int) -> Array:
        line = self._file.readline()
        where = f"{self.fname}, line {block.line + below}, {block.name}"
        try:
            numbers = parsed(line, block.count)
        except ValueError as error:
            raise ModelFileError(f"{self.call}: {where}: {error}") from error
        if len(numbers) != block.count:
            raise ModelFileError(
                f"{self.call}: {where}: there are {len(numbers)} numbers for a parameter of "
                f"dimensions {braces(block.dims)}, which has {block.count}; the file may be "
                "truncated"
            )
        if block.lookup:  # row by row, each in column-major order
            *row, n = block.dims
            shaped = numbers.reshape(n, *reversed(row))
            return np.ascontiguousarray(shaped.transpose(0, *range(len(row), 0, -1)))
        return np.ascontiguousarray(numbers.reshape(block.dims, order="F"))

    def _scan(self) -> None:
        file = self._file
        size = os.fstat(file.fileno()).st_size
        number = 0
        while line := file.readline():
            number += 1
            if not line.strip():
                continue
            block, length = self._header(line, number, file.tell())
            self.blocks.append(block)
            self._found.setdefault((block.lookup, block.name), block)
            number += 2 if block.full else 1
            end = block.offset + length
            if block.offset < end <= size:
                file.seek(end - 1)
                if file.read(2) == (b"\n#" if end < size else b"\n"):
                    file.seek(end)
                    continue
                file.seek(block.offset)  # numbers of other widths: NaN, or written by hand
            for _ in range(2 if block.full else 1):
                file.readline()

    def _header(self, line: bytes, number: int, offset: int) -> tuple[Block, int]:
        try:
            kind, rest = line.decode().rstrip("\r\n").split(" ", 1)
            name, dims, length, grad = rest.rsplit(" ", 3)
            match = _DIMENSIONS.fullmatch(dims)
            if match is None or grad not in ("ZERO_GRAD", "FULL_GRAD"):
                raise ValueError(dims if match is None else grad)
            lookup = {"#Parameter#": False, "#LookupParameter#": True}[kind]
            shape = tuple(int(d) for d in match[1].split(",") if d)
            return Block(lookup, name, shape, grad == "FULL_GRAD", offset, number), int(length)
        except (ValueError, KeyError) as error:
            text = line[:60].decode(errors="replace").rstrip("\n")
            raise ModelFileError(
                f"{self.call}: {self.fname}, line {number}: got {text!r}; it should say "
                "'#Parameter# /name {dimensions} bytes ZERO_GRAD', or #LookupParameter# and "
                "FULL_GRAD; the file is damaged, or of another format"
            ) from error


class Writer:
    """A file that parameters are written to.

    Args:
        fname: Its name.
        append: Whether what is there stays.
        call: The function that errors name.

    Raises:
        ModelFileError: If it cannot be written.
    """

    def __init__(self, fname: Any, append: Any, call: str) -> None:
        self.call = call
        self.fname = checked_name(fname, call)
        self._file = opened(self.fname, "ab" if append else "wb", call)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, p: Trained, name: str) -> None:
        """Write a parameter, and its gradient if it has one."""
        lookup = isinstance(p, LookupParameters)
        leaf = p.leaf
        shape = p.shape()
        dims = shape[1:] + shape[:1] if lookup else shape
        full = leaf.has_gradient()
        values = to_host(leaf.values)
        arrays = [a.reshape(shape) for a in ([values, leaf.gradient()] if full else [values])]
        kind = "#LookupParameter#" if lookup else "#Parameter#"
        length = (WIDTH * leaf.size + 1) * len(arrays)
        grad = "FULL_GRAD" if full else "ZERO_GRAD"
        self._file.write(f"{kind} {name} {braces(dims)} {length} {grad}\n".encode())
        for array in arrays:
            axes = (0, *range(array.ndim - 1, 0, -1)) if lookup else None
            for piece in written(array.transpose(axes).reshape(-1)):
                self._file.write(piece)
            self._file.write(b"\n")


def opened(fname: str, mode: str, call: str) -> IO[bytes]:
    """A file, open.

    Raises:
        ModelFileError: If that cannot be done.
    """
    try:
        return open(fname, mode)
    except FileNotFoundError as error:
        why = "there is no such file" if mode == "rb" else "its folder does not exist"
        raise MissingFileError(f"{call}: {fname}: {why}") from error
    except OSError as error:
        raise ModelFileError(f"{call}: {fname}: {error}") from error


def checked_name(fname: Any, call: str) -> str:
    """The name of a file as a text.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(fname, (str, os.PathLike)):
        raise TypeError(f"{call}: got {fname!r}; it takes the name of a file")
    return os.fsdecode(fname)


def braces(dims: Dims) -> str:
    """Dimensions as DyNet writes them."""
    return "{" + ",".join(map(str, dims)) + "}"


def save(p: Trained, fname: Any, key: str, append: bool) -> None:
    """See `Parameters.save`."""
    call = f"{type(p).__name__}.save"
    if not isinstance(key, str):
        raise TypeError(f"{call}: got key {key!r}; it must be a text")
    if " " in key or "#" in key:
        raise ValueError(f"{call}: got key {key!r}; it must be without ' ' and '#'")
    with Writer(fname, append, call) as writer:
        writer.write(p, key or p.name())


def save_all(
    path: str, parameters: list[Parameters], lookups: list[LookupParameters], fname: Any,
    name: str, append: bool,
) -> None:  # fmt: skip
    """See `ParameterCollection.save`."""
    call = "ParameterCollection.save"
    if not isinstance(name, str):
        raise TypeError(f"{call}: got name {name!r}; it must be a text")
    if name and (name[0] != "/" or name == "/" or " " in name or "#" in name):
        raise ValueError(
            f"{call}: got name {name!r}; it must start with '/', have more than that, and be "
            "without ' ' and '#'"
        )
    prefix = name if name.endswith("/") else f"{name}/"
    with Writer(fname, append, call) as writer:
        everything: list[Trained] = [*parameters, *lookups]
        for p in everything:
            own = p.name()
            within = own[len(path) :] if own.startswith(path) else own.lstrip("/")
            writer.write(p, prefix + within if name else own)


def populate(p: Trained, fname: Any, key: str) -> None:
    """See `Parameters.populate`."""
    call = f"{type(p).__name__}.populate"
    with Reader(fname, call) as reader:
        block = reader.find(key, isinstance(p, LookupParameters))
        _check(p, block, reader)
        reader.read(block).put(p)


def populate_all(
    parameters: list[Parameters], lookups: list[LookupParameters], fname: Any, key: str
) -> None:
    """See `ParameterCollection.populate`."""
    with Reader(fname, "ParameterCollection.populate") as reader:
        reader_to(reader, parameters, lookups, key)


def reader_to(
    reader: Reader,
    parameters: list[Parameters],
    lookups: list[LookupParameters],
    key: str,
    once: bool = False,
) -> None:
    """Read parameters in the order of the file; nothing is changed unless everything fits.

    Args:
        reader: The file.
        parameters: What to read.
        lookups: The tables.
        key: What names in the file begin with.
        once: Of several with the same name, take the first.
    """
    call, fname = reader.call, reader.fname
    if not isinstance(key, str):
        raise TypeError(f"{call}: got key {key!r}; it must be a text")
    blocks = [b for b in reader.blocks if b.name.startswith(key)]
    if once:
        blocks = [b for b in blocks if b is reader.find(b.name, b.lookup)]
    pairs: list[tuple[Trained, Block]] = []
    wanted: list[tuple[list[Any], bool]] = [(parameters, False), (lookups, True)]
    for targets, lookup in wanted:
        found = [b for b in blocks if b.lookup == lookup]
        pairs += zip(targets, found)
        if len(found) != len(targets):
            what = "lookup parameters" if lookup else "parameters"
            names = f" with names that start with {key!r}" if key else ""
            extra = [b.name for b in found[len(targets) :]] or [
                p.name() for p in targets[len(found) :]
            ]
            side = "the collection" if len(found) > len(targets) else "the file"
            raise ModelFileError(
                f"{call}: {fname} has {len(found)} {what}{names}, and the collection "
                f"{len(targets)}; {extra[0]} has no counterpart in {side}"
            )
    for p, block in pairs:
        _check(p, block, reader)
    contents = [reader.read(block) for _, block in pairs]
    for (p, _), content in zip(pairs, contents):
        content.put(p)


def _check(p: Trained, block: Block, reader: Reader) -> None:
    shape = p.shape()
    if block.shape != shape:
        dims = shape[1:] + shape[:1] if block.lookup else shape
        raise ModelFileError(
            f"{reader.call}: {reader.fname}, line {block.line}: {block.name} has dimensions "
            f"{braces(block.dims)}, but {p.name()} has {braces(dims)}"
        )
