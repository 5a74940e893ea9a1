"""Settings: what DyNet reads from the command line and from `dynet_config`, and devices.

Settings are read when this package is first imported, as DyNet does, and can be changed at any
time after that. Memory sizes and the switch for autobatching are accepted and change nothing:
memory is never reserved, and expressions are always batched. Where a GPU is asked for, collections
of parameters are made on it, which is where everything that depends on them is computed.
"""

from __future__ import annotations

import importlib.util
import re
import secrets
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lazynet.backend import CPU, device_name
from lazynet.dynet import dynet_config, profiling
from lazynet.errors import ArgumentError, DeviceError, RangeError
from lazynet.modes import MODES
from lazynet.randomness import get_state
from lazynet.randomness import seed as restart_stream

RUNNER = "lazynet.dynet"
"""What is run with `python -m`."""
HAVE_CUDA = importlib.util.find_spec("cupy") is not None
"""Whether CuPy is installed; whether there is a GPU shows when one is asked for."""
ERRMSG = (
    "DyNet was not installed with GPU support: GPU devices stand for the CPU; for a GPU, "
    "pip install 'lazynet[cuda13]' (or [cuda12])"
)

_VALUES = {
    "mem": "the memory in megabytes; ignored",
    "seed": "the random seed; 0 for a new one each time",
    "weight-decay": "the weight decay of collections made afterwards",
    "l2": "the weight decay of collections made afterwards",
    "autobatch": "0 or 1; ignored",
    "profiling": "0, or 1 to print times at the end, or 2 to print batches too",
    "gpus": "the number of GPUs",
    "gpu-ids": "the numbers of the GPUs, with commas between them",
    "devices": "names of devices, CPU or GPU:0 and so on, with commas between them",
}
_SWITCHES = ("gpu", "viz", "shared-parameters", "dynamic-mem")
_IGNORED = ("autobatch-debug", "profiling-debug")


class Settings(NamedTuple):
    """What is in force.

    Attributes:
        seed: The random seed; 0 for one that is new each time.
        weight_decay: Of parameter collections that are made from now on.
        profiling: 0; 1 to print times per operation at the end, 2 to print every batch as well.
        autobatch: Kept, changes nothing.
        devices: Names that `device=` and `to_device` accept; all stand for the first GPU among
            them, or for the CPU where there is none.
        viz: Whether `--dynet-viz` was given; `print_graphviz` works either way.
    """

    seed: int = 0
    weight_decay: float = 0.0
    profiling: int = 0
    autobatch: int = 0
    devices: tuple[str, ...] = ("CPU",)
    viz: bool = False


class _State:
    """What is in force, for all threads."""

    settings = Settings()
    device = ""
    """Where GPUs that were asked for are: "cuda:0" and so on, or "cpu"; empty if none was."""


def settings() -> Settings:
    """The settings in force."""
    return _State.settings


def default_device() -> str:
    """Where collections of parameters are made: on the GPU asked for, or by `ln.use_device`."""
    return _State.device or MODES.get().device


def apply(new: Settings, restart: bool = True) -> None:
    """Put settings in force: find the GPU, switch profiling, restart random numbers or not."""
    _State.settings = new
    if restart:
        reset_random_seed(new.seed or secrets.randbits(31) + 1)
    profiling.switch(new.profiling)
    gpus = [name for name in new.devices if name != "CPU"]
    _State.device = _find(gpus) if gpus else ""


def _find(gpus: list[str]) -> str:
    """The first of these GPUs, or else the CPU, with a warning; so too where there are several."""
    try:
        found = device_name(f"cuda:{gpus[0][4:]}")
    except DeviceError as error:
        warnings.warn(
            f"lazynet.dynet: {', '.join(gpus)} will be the CPU, because there is no such GPU here: "
            f"{error}",
            stacklevel=3,
        )
        return CPU
    if len(gpus) > 1:
        warnings.warn(
            f"lazynet.dynet: {', '.join(gpus[1:])} will be {gpus[0]}: a network is computed on one "
            "device",
            stacklevel=3,
        )
    return found


def reset_random_seed(seed: int) -> None:
    """Restart the random numbers of this thread: parameters, dropout, random inputs, samples.

    Raises:
        TypeError: If the seed is no whole number.
        ValueError: If it is negative.
    """
    try:
        restart_stream(seed)
    except ArgumentError as error:
        raise TypeError(f"reset_random_seed: {error}") from None
    except RangeError as error:
        raise ValueError(f"reset_random_seed: {error}") from None


# Flags


def read_flags(argv: Sequence[str]) -> Settings | None:
    """The settings of `--dynet-...` flags; None if there are none.

    Names may be written with `-` or `_`, values as the next argument or after `=`. Flags that
    DyNet does not know are left to the program.

    Raises:
        ValueError: If a flag lacks its value, or it is no number.
    """
    found: dict[str, str] = {}
    i = 1
    while i < len(argv):
        name, equals, value = str(argv[i]).partition("=")
        i += 1
        if not name.lower().startswith(("--dynet-", "--dynet_")):
            continue
        flag = name[8:].lower().replace("_", "-")
        if flag in _SWITCHES:
            found[flag] = value
        elif flag in _VALUES or flag in _IGNORED:
            if not equals:
                if i == len(argv):
                    raise ValueError(f"{name} expects an argument ({_VALUES.get(flag, 'ignored')})")
                value = str(argv[i])
                i += 1
            found[flag] = value
    if not found:
        return None
    return Settings(
        _number(found, "seed", int),
        _number(found, "weight-decay" if "weight-decay" in found else "l2", float),
        _number(found, "profiling", int),
        _number(found, "autobatch", int),
        _devices(found),
        "viz" in found,
    )


def _devices(found: Mapping[str, str]) -> tuple[str, ...]:
    """The devices that flags name, the CPU first.

    Raises:
        ValueError: If a name is none.
    """
    devices = ["CPU", *(f"GPU:{k}" for k in range(_number(found, "gpus", int)))]
    if "gpu" in found:
        devices.append("GPU:0")
    devices += [f"GPU:{k}" for k in found.get("gpu-ids", "").split(",") if k]
    devices += [name for name in found.get("devices", "").split(",") if name]
    for name in devices:
        if not re.fullmatch(r"CPU|GPU:\d{1,3}", name):
            raise ValueError(
                f"Bad argument to --dynet-devices or --dynet-gpu-ids: {name}; devices are CPU and "
                "GPU:0, GPU:1 and so on, with commas between them"
            )
    return tuple(dict.fromkeys(devices))


def _number(found: Mapping[str, str], flag: str, kind: Any) -> Any:
    text = found.get(flag, "0")
    try:
        number = kind(text)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(
            f"--dynet-{flag}: got {text!r}; it takes {_VALUES[flag]}: a number, not below 0"
        )
    return number


def start() -> None:
    """Read the settings when the package is imported: of `dynet_config`, or else of sys.argv.

    DyNet leaves sys.argv as it is, for programs that declare its flags in their own parser; only
    `--dynet-viz` is taken out, and so it is here. Where nothing says otherwise, random numbers
    begin anywhere, as DyNet's do, unless the program has called `lazynet.seed` or drawn any.
    """
    argv = getattr(sys, "argv", [])
    if argv[:1] == ["-m"] and RUNNER in sys.orig_argv:
        argv = []  # the script's import will read them
    flags = read_flags(argv)
    if flags is not None and flags.viz:
        argv[1:] = [a for a in argv[1:] if a not in ("--dynet-viz", "--dynet_viz")]
    conf = dynet_config.get()
    if conf is not None:
        flags = from_conf(conf)._replace(viz=flags is not None and flags.viz)
    untouched = get_state() == {"seed": 0, "stream": 0, "count": 0}
    apply(flags or Settings(), restart=untouched or flags is not None)
    dynet_config.listen(lambda: apply(from_conf(dynet_config.get() or {})))


def from_conf(conf: Mapping[str, Any]) -> Settings:
    """The settings that a configuration of `dynet_config` stands for.

    Raises:
        KeyError: If an entry is missing.
    """
    params = DynetParams()
    params.from_config(conf)
    return params.settings


# DyNet's interface


class DynetParams:
    """Settings as an object: fill it, then call `init`; that works at any time.

    >>> params = DynetParams()
    >>> params.set_random_seed(42)
    >>> params.init()
    """

    def __init__(self) -> None:
        self.settings = Settings()

    def from_args(self, shared_parameters: Any = None) -> None:
        """Take the settings of the flags in sys.argv.

        Args:
            shared_parameters: Accepted for old programs; threads share parameters anyway.
        """
        self.settings = read_flags(sys.argv) or Settings()

    def from_config(self, conf: Mapping[str, Any]) -> None:
        """Take the settings of a configuration, as `dynet_config.get` returns it."""
        for name in ("mem", "shared_params", "gpu_mask"):
            if name not in conf:  # they must be there, as in DyNet, but change nothing
                raise KeyError(name)
        self.set_random_seed(conf["seed"])
        self.set_weight_decay(conf["weight_decay"])
        self.set_profiling(conf["profiling"])
        self.set_autobatch(conf["autobatch"])
        self.set_requested_gpus(conf["requested_gpus"])

    def init(self) -> None:
        """Put the settings in force, and restart the random numbers."""
        apply(self.settings)

    def set_mem(self, mem: Any) -> None:
        """Accepted for old programs: no memory is reserved."""

    def set_random_seed(self, random_seed: int) -> None:
        """Set the random seed; 0 for one that is new each time."""
        self.settings = self.settings._replace(seed=_setting("random seed", random_seed, int))

    def set_weight_decay(self, weight_decay: float) -> None:
        """Set the weight decay of parameter collections that are made after `init`."""
        number = _setting("weight decay", weight_decay, float)
        self.settings = self.settings._replace(weight_decay=number)

    def set_profiling(self, profiling: int) -> None:
        """Set what is printed to stderr: 1 for times at the end, 2 for every batch as well."""
        self.settings = self.settings._replace(profiling=_setting("profiling", profiling, int))

    def set_autobatch(self, autobatch: Any) -> None:
        """Accepted for old programs: expressions are always batched."""
        self.settings = self.settings._replace(autobatch=_setting("autobatch", autobatch, int))

    def set_shared_parameters(self, shared_parameters: Any) -> None:
        """Accepted for old programs: threads share parameters anyway."""

    def set_requested_gpus(self, requested_gpus: int) -> None:
        """Ask for as many GPUs; the first one is used."""
        n = _setting("requested GPUs", requested_gpus, int)
        names = tuple(f"GPU:{i}" for i in range(n))
        self.settings = self.settings._replace(devices=("CPU", *names))

    def set_gpu_mask(self, gpu_mask: Any) -> None:
        """Accepted for old programs: `--dynet-devices` and CUDA_VISIBLE_DEVICES choose a GPU."""

    def set_cpu_mode(self) -> None:
        """Use the CPU."""
        self.settings = self.settings._replace(devices=("CPU",))


def _setting(role: str, value: Any, kind: Any) -> Any:
    try:
        number = kind(value)
    except (TypeError, ValueError):
        raise TypeError(f"{role}: got {value!r}; it must be a number") from None
    if not 0 <= number <= sys.maxsize:
        raise ValueError(f"{role}: got {value!r}; it must not be below 0")
    return number


def init(shared_parameters: Any = None) -> None:
    """Read the flags in sys.argv again.

    They are read when this package is imported; nothing happens where they still say the same.

    Args:
        shared_parameters: Accepted for old programs; threads share parameters anyway.
    """
    flags = read_flags(sys.argv)
    if flags is not None and flags != _State.settings._replace(viz=flags.viz):
        apply(flags)


def init_from_params(params: DynetParams) -> None:
    """Put settings in force: the same as `params.init()`."""
    if not isinstance(params, DynetParams):
        raise TypeError(f"init_from_params: got {params!r}; it takes DynetParams")
    params.init()


class DeviceInfo:
    """A device.

    Attributes:
        name: "CPU", or "GPU:0" and the like.
        id: Its number.
        dtype: Its type: "CPU" or "GPU".
    """

    def __init__(self, name: str, id: int, dtype: Any) -> None:
        self.name = name
        self.id = id
        self.dtype = dtype

    def __repr__(self) -> str:
        return f"<DeviceInfo {self.name}>"


def available_devices() -> list[str]:
    """Names of the devices there are: the GPU in use, if one is, and the CPU."""
    return ["CPU"] if default_device() == CPU else [_default(), "CPU"]


def _default() -> str:
    """DyNet's name of the device in use."""
    return "CPU" if default_device() == CPU else f"GPU:{default_device().partition(':')[2]}"


def checked_device(name: Any, role: str) -> str:
    """A name that `device=` may be.

    Args:
        name: "" (the default device), "CPU", or one that was given on the command line.
        role: The function that got it.

    Raises:
        TypeError: If it is no string.
        RuntimeError: If there is no such device.
    """
    if name == "" or name == "CPU":
        return name or _default()
    if not isinstance(name, str):
        raise TypeError(f"{role}: got device={name!r}; it must be a text such as 'CPU'")
    if name not in _State.settings.devices and name != _default():
        names = " and ".join(map(repr, dict.fromkeys([*_State.settings.devices, _default()])))
        raise RuntimeError(
            f"{role}: got device={name!r}: Invalid device name: {name}; there is only {names}"
        )
    return name


def get_device_info(name: str) -> DeviceInfo:
    """What is known of a device; "" for the one in use.

    Raises:
        RuntimeError: If there is no such device.
    """
    found = checked_device(name, "get_device_info")
    if found == "CPU" or default_device() == CPU:
        return DeviceInfo(found, 0, "CPU")
    return DeviceInfo(found, int(found[4:]), "GPU")
