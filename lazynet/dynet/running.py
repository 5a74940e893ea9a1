"""Running programs that import `dynet`, unchanged: `install`, and `python -m lazynet.dynet`."""

from __future__ import annotations

import importlib.machinery
import io
import os
import sys
import types
from collections.abc import Sequence

from lazynet.dynet import config

_PACKAGE = "lazynet.dynet"
_NAMES = {
    "dynet": _PACKAGE,
    "_dynet": _PACKAGE,
    "dynet_viz": _PACKAGE,
    "dynet_config": f"{_PACKAGE}.dynet_config",
}
"""DyNet's modules, and what stands in for each."""


_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "names")


def provide(name: str) -> None:
    """Put this package in the place of a module of DyNet that is being imported.

    Settings are read when the first one is, except for `dynet_config`.

    Args:
        name: The module.
    """
    target = _NAMES.get(name)
    if target is None:
        return  # one of the files in the folder, imported under its full name
    stand_ins = [n for n, t in _NAMES.items() if t == _PACKAGE and n != name]
    if target == _PACKAGE and not any(n in sys.modules for n in stand_ins):
        config.start()
    sys.modules[name] = sys.modules[target]


def install() -> None:
    """Let `import dynet` import this package, and `dynet_config`, `_dynet`, `dynet_viz` likewise.

    To be called before the program's own imports. Settings are read from sys.argv, or from
    `dynet_config`, when one of them is imported. It adds a folder to sys.path, so that processes
    which `multiprocessing` starts have it too.

    Raises:
        RuntimeError: If DyNet itself was imported already.
    """
    for name, target in _NAMES.items():
        known = sys.modules.get(name)
        if known is not None and known is not sys.modules.get(target):
            raise RuntimeError(
                f"install: {name} was imported already, from {getattr(known, '__file__', known)}; "
                "call install() before that"
            )
    if _FOLDER not in sys.path:
        sys.path.insert(1, _FOLDER)


USAGE = """usage: python -m lazynet.dynet script.py [argument ...]

Runs a program written for DyNet without any change: `import dynet`, `import dynet_config` and
`import _dynet` give it lazynet.dynet. The arguments are the script's own; --dynet-seed and DyNet's
other flags are read from them as DyNet does.
"""


def main(arguments: Sequence[str]) -> int:
    """Run a script as Python does, with DyNet's modules installed.

    Args:
        arguments: The path of the script, and its arguments.

    Returns:
        The exit status, if the script does not exit by itself.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    script = arguments[0]
    try:
        with io.open_code(os.path.abspath(script)) as file:
            source = file.read()
    except OSError as error:
        program = f"{sys.executable} -m {_PACKAGE}"
        print(
            f"{program}: can't open file {script!r}: [Errno {error.errno}] {error.strerror}",
            file=sys.stderr,
        )
        return 2
    path = os.path.abspath(script)
    sys.argv[:] = [script, *arguments[1:]]
    if not getattr(sys.flags, "safe_path", False):  # then sys.path begins with where we are
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    install()
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=path, __cached__=None, __builtins__=__builtins__)
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    sys.modules["__main__"] = module
    try:
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        # what Python prints for the script alone, without this frame
        own = error.__traceback__
        error.__traceback__ = own.tb_next if own is not None else None
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0
