"""Compiles the record path and the scheduler into the wheel, where that can be done.

mypyc translates the modules named here to C; the same source runs as it is where they are not
compiled. The environment variable LAZYNET_COMPILE decides: 1 compiles or fails, 0 does not compile,
and without it a build that cannot compile says so and goes on without.

An editable install is never compiled: an extension module hides the source file beside it, so that
edits would have no effect. For the same reason everything built goes to a temporary folder.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED = """
agenda aliases calls collect components graph kinds layout leaves modes reach recall recorder
schedule shortcuts tape
dynet/arguments dynet/arithmetic dynet/common dynet/elementwise dynet/expression dynet/inputs
dynet/linalg dynet/lists dynet/loss dynet/parameters dynet/picking dynet/probability dynet/random
dynet/reduce dynet/rnn_states dynet/stretch
""".split()
"""Modules of the package: what runs once for every node, and the classes it works on."""

SETTING = os.environ.get("LAZYNET_COMPILE", "")
if SETTING not in ("", "0", "1"):
    sys.exit(f"LAZYNET_COMPILE={SETTING!r}: set it to 1 (compile or fail) or 0, or leave it unset")
FORCED = SETTING == "1"

commands = set(sys.argv[1:])
if FORCED and commands & {"develop", "editable_wheel"}:
    sys.exit("LAZYNET_COMPILE=1: an editable install runs the sources as they are; pip install .")
WANTED = SETTING != "0" and bool(commands & {"bdist_wheel", "build", "build_ext", "install"})


def give_up(reason: object) -> None:
    """Go on without compiled modules, or not at all."""
    text = f"lazynet's record path and scheduler are not compiled: {reason}"
    if FORCED:
        sys.exit(f"LAZYNET_COMPILE=1, but {text}")
    rule = "*" * 80
    print(
        f"{rule}\nWARNING: {text}\nThe package does the same without, but slower. "
        f"LAZYNET_COMPILE=1 makes this an error, LAZYNET_COMPILE=0 is silent.\n{rule}",
        file=sys.stderr,
    )


def with_docstrings(code: str) -> str:
    """C code from mypyc with the docstrings that it leaves out, of classes and of functions."""
    texts: dict[str, str] = {}
    for module in COMPILED:
        tree = ast.parse(Path(f"lazynet/{module}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            for inner in [node, *getattr(node, "body", [])]:
                if isinstance(inner, (ast.ClassDef, ast.FunctionDef)):
                    outer = [] if inner is node else [getattr(node, "name", "")]
                    name = "___".join([module.rpartition("/")[2], *outer, inner.name])
                    texts[name] = ast.get_docstring(inner) or ""

    def complete(found: re.Match[str]) -> str:
        text = texts.get(found["name"].removeprefix("CPyPy_"), "")
        return found["before"] + found["text"][:-1] + json.dumps(text)[1:]

    text = r'PyDoc_STR\()(?P<text>".*?[^\\]")'
    function = r'(?P<before>\(PyCFunction\)(?P<name>\w+),[^",]+, '
    type_ = r"(?P<before>CPyType_(?P<name>\w+)_template_ = \{[^}]+\.tp_doc = "
    return re.sub(type_ + text, complete, re.sub(function + text, complete, code))


def extensions(folder: str) -> list[Extension]:
    """The compiled modules, as C files in this folder; none where mypyc cannot translate them."""
    try:
        from mypyc.build import mypycify

        found: list[Extension] = mypycify(
            [
                # The types of other packages, and with them the C code, would depend on which
                # versions happen to be installed.
                "--config-file=",
                "--cache-dir=" + os.devnull,
                "--follow-imports=silent",
                "--ignore-missing-imports",
                "--no-site-packages",
                *(f"lazynet/{name}.py" for name in COMPILED),
            ],
            debug_level="0",
            group_name="lazynet",
            target_dir=folder,
        )
    except (Exception, SystemExit) as error:  # mypyc exits where it finds errors
        give_up(f"mypyc: {error!r}")
        return []
    for path in Path(folder).glob("__native*.c"):
        path.write_text(with_docstrings(path.read_text(encoding="utf-8")), encoding="utf-8")
    for extension in found:  # a warning of some other compiler is no reason not to compile
        extension.extra_compile_args = [a for a in extension.extra_compile_args if a != "-Werror"]
    return found


class BuildExtensions(build_ext):
    """Builds all extensions or none: half of them would not work together."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.inplace:
            sys.exit("compiled modules beside the sources would hide every later edit")

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:  # no C compiler, or one that fails
            give_up(f"{str(error)[:60]}... (what the C compiler said stands above)")
            for path in self.get_outputs():
                with suppress(FileNotFoundError):
                    Path(path).unlink()
            self.extensions = []
            self.distribution.ext_modules = []
            if "bdist_wheel" in commands:  # a wheel for any Python then
                self.get_finalized_command("bdist_wheel").root_is_pure = True


with TemporaryDirectory(prefix="lazynet-build-") as build:
    setup(
        ext_modules=extensions(build) if WANTED else [],
        cmdclass={"build_ext": BuildExtensions},
        options={"build": {"build_base": build}},
    )
