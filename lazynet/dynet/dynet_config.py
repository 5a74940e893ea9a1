"""Settings from code, as the module `dynet_config` of DyNet takes them.

What is set before `lazynet.dynet` is first imported wins over the command line; what is set after
that takes effect at once. `from lazynet.dynet import dynet_config` reaches this module without
DyNet's name for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class _State:
    conf: dict[str, Any] | None = None
    gpu: bool | None = None
    listener: Callable[[], None] | None = None


def set(
    mem: Any = "512",
    random_seed: int = 0,
    autobatch: int = 0,
    profiling: int = 0,
    weight_decay: float = 0,
    shared_parameters: Any = 0,
    requested_gpus: int = 0,
    gpu_mask: Any = None,
) -> None:
    """Set everything: what is not given takes its default.

    Args:
        mem: Accepted; no memory is reserved.
        random_seed: Of parameters, dropout and random inputs; 0 for a new one each time.
        autobatch: Accepted; expressions are always batched.
        profiling: 1 to print times per operation to stderr at the end, 2 every batch as well.
        weight_decay: Of parameter collections that are made afterwards.
        shared_parameters: Accepted; threads share parameters anyway.
        requested_gpus: 1 to compute on the first GPU; more change nothing.
        gpu_mask: Accepted; CUDA_VISIBLE_DEVICES chooses a GPU.
    """
    conf = {
        "mem": mem,
        "seed": random_seed,
        "autobatch": autobatch,
        "profiling": profiling,
        "weight_decay": weight_decay,
        "shared_params": shared_parameters,
        "requested_gpus": requested_gpus,
        "gpu_mask": gpu_mask if gpu_mask else [],
    }
    before = _State.conf
    _State.conf = conf
    try:
        _changed()
    except Exception:
        _State.conf = before  # nothing was changed
        raise


def set_gpu(flag: bool = True) -> None:
    """Ask for a GPU, or not. Where there is none a warning says so, and the CPU is used."""
    _State.gpu = flag
    if _State.conf is None:
        set(requested_gpus=int(bool(flag)))
    else:
        _State.conf["requested_gpus"] = int(bool(flag))
        _changed()


def gpu() -> bool | None:
    """What `set_gpu` was given; None before."""
    return _State.gpu


def get() -> dict[str, Any] | None:
    """What was set; None before."""
    return _State.conf


def listen(changed: Callable[[], None]) -> None:
    """Have a function called whenever something is set."""
    _State.listener = changed


def _changed() -> None:
    if _State.listener is not None:
        _State.listener()
