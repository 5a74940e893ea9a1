"""Running programs that import `dynet`, unchanged: `install`, and `python -m lazynet.dynet`."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import io
import os
import sys
import types
from collections.abc import Sequence
from typing import Any

_PACKAGE = "lazynet.dynet"
_NAMES = {
    "dynet": _PACKAGE,
    "_dynet": _PACKAGE,
    "dynet_viz": _PACKAGE,
    "dynet_config": f"{_PACKAGE}.dynet_config",
}
"""DyNet's modules, and what stands in for each."""


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds DyNet's modules here; settings are read when one of them is first imported."""

    def find_spec(
        self, fullname: str, path: Any = None, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname in _NAMES:
            return importlib.machinery.ModuleSpec(fullname, self)
        return None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        from lazynet.dynet import config

        target = _NAMES[module.__name__]
        if target == _PACKAGE and not any(
            name in sys.modules for name in _NAMES if name not in ("dynet_config", module.__name__)
        ):
            config.start()
        sys.modules[module.__name__] = sys.modules[target]


_FINDER = _Finder()


def install() -> None:
    """Let `import dynet` import this package, and `dynet_config`, `_dynet`, `dynet_viz` likewise.

    To be called before the program's own imports. Settings are read from sys.argv, or from
    `dynet_config`, when one of them is imported.

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
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


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
    install()
    path = os.path.abspath(script)
    sys.argv[:] = [script, *arguments[1:]]
    if not getattr(sys.flags, "safe_path", False):  # then sys.path begins with our own place
        sys.path[0] = os.path.dirname(os.path.realpath(path))
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
