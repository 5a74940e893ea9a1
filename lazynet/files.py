"""Saving and loading: one safetensors file with parameters, random state and optimiser state."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lazynet.backend import to_host
from lazynet.errors import ArgumentError, FileError
from lazynet.kinds import Array
from lazynet.randomness import get_state, set_state

if TYPE_CHECKING:
    from lazynet.parameters import Model

_FORMAT = "lazynet-1"
_PARAMETER = "parameter:"
_OPTIMIZER = "optimizer:"


def save(model: Model, path: Any, optimizer: Any = None) -> None:
    """See `Model.save`."""
    prefix = len(model.path)
    tensors: dict[str, Array] = {
        _PARAMETER + name[prefix:]: np.array(to_host(p.values), _stored(p.dtype), order="C")
        for name, p in model.items()
    }
    state = {"initialisers": _generator_state(model), "random": get_state()}
    if optimizer is not None:
        for name, value in optimizer.state_dict().items():
            tensors[_OPTIMIZER + name] = value
        state["optimizer"] = type(optimizer).__name__
    store(path, _FORMAT, tensors, state)


def store(path: Any, kind: str, tensors: dict[str, Array], state: dict[str, Any]) -> None:
    """Write arrays and what JSON can hold to a file.

    Args:
        path: Name of the file, which appears whole or not at all.
        kind: What sort of file it is, for `fetch`.
        tensors: Arrays by name.
        state: The rest.
    """
    import safetensors.numpy

    target = _path(path)
    empty = {name: list(t.shape) for name, t in tensors.items() if t.size == 0}
    data = safetensors.numpy.save(
        {name: np.asarray(t, order="C") for name, t in tensors.items() if t.size},
        {"format": kind, "state": json.dumps(state), "empty": json.dumps(empty)},
    )
    _write(target, data)


def _stored(dtype: Any) -> Any:
    """The dtype that values are written in: safetensors reads no bfloat16 without PyTorch."""
    return np.float32 if dtype.kind == "V" else dtype


def _write(target: Path, data: bytes) -> None:
    """Write a whole file or none: into a temporary beside it, then moved into place."""
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(partial)
        if isinstance(error, OSError):
            raise FileError(
                f"save: {target} could not be written ({error}); what was there before is "
                "untouched; make room (or choose another place) and save again"
            ) from error
        raise


def _path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise ArgumentError(f"path: got {path!r}; it must be a file name")
    return Path(path)


def _generator_state(model: Model) -> str:
    return json.dumps(model.rng.bit_generator.state, default=lambda a: a.tolist())


def fetch(path: Any, kind: str, writer: str) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `store` wrote.

    Args:
        path: Name of the file.
        kind: What sort of file it must be.
        writer: The function that writes such files, for the message.

    Raises:
        FileError: If it is no file of this sort, or not complete.
    """
    import safetensors

    source = _path(path)
    try:
        with safetensors.safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != kind:
                raise FileError(
                    f"load: {source} was not written by {writer} (format "
                    f"{metadata.get('format')!r}); read foreign arrays with safetensors and assign "
                    "them to parameter.array"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise
    except (safetensors.SafetensorError, OSError) as error:
        raise FileError(
            f"load: {source} is no complete safetensors file ({error}); it may be truncated or of "
            "another program; save it again"
        ) from error
    for name, shape in json.loads(metadata["empty"]).items():
        tensors[name] = np.zeros(shape, np.float32)
    return tensors, json.loads(metadata["state"])


def load(model: Model, path: Any, optimizer: Any = None) -> None:
    """See `Model.load`."""
    tensors, state = fetch(path, _FORMAT, "Model.save")
    prefix = len(model.path)
    mine = {name[prefix:]: p for name, p in model.items()}
    theirs = {
        name[len(_PARAMETER) :]: t for name, t in tensors.items() if name.startswith(_PARAMETER)
    }
    problems = [f"missing in the file: {name} {mine[name].shape}" for name in mine.keys() - theirs]
    problems += [
        f"not in the model: {name} {theirs[name].shape}" for name in theirs.keys() - mine.keys()
    ]
    for name in mine.keys() & theirs.keys():
        if mine[name].shape != theirs[name].shape:
            problems.append(
                f"{name}: the file has {theirs[name].shape}, the model {mine[name].shape}"
            )
    if problems:
        raise FileError(f"load: {path} does not fit the model; " + "; ".join(sorted(problems)))
    generator = json.loads(state["initialisers"])
    for key in ("counter", "key"):
        generator["state"][key] = np.array(generator["state"][key], np.uint64)
    generator["buffer"] = np.array(generator["buffer"], np.uint64)
    optimizer_state = {
        name[len(_OPTIMIZER) :]: t for name, t in tensors.items() if name.startswith(_OPTIMIZER)
    }
    if optimizer is not None:
        wanted = type(optimizer).__name__
        if state.get("optimizer") != wanted:
            raise FileError(
                f"load: {path} holds the state of {state.get('optimizer')}, not of {wanted}; "
                "leave out optimizer, or use the one it was saved with"
            )
        optimizer.load_state_dict(optimizer_state)
    for name, p in mine.items():
        p.array = theirs[name]
    model.rng.bit_generator.state = generator
    set_state(state["random"])
