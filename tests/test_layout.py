"""The layout of the package: which module may import which, and what `import lazynet` costs."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from devices import HOST_ONLY

import lazynet as ln

ROOT = Path(ln.__file__).parent
ORDER = (
    "errors cells native modes deferred backend kinds staged leaves convert tape graph randomness"
    " calls shortcuts inputs reach collect components agenda schedule aliases layout gathers chains"
    " payloads pieces stages timing recorder evaluation wide placement recall routine externals"
    " culprit failures anomaly execute reading chosen sheet whole rewind accumulate foresee needs"
    " anomaly_back walk retrace differentiate revise asked plan init files device parameters ops"
    " fuse nn optim gradcheck together search dynet inspect"
).split()
"""A module imports only what stands to its left."""

MODULES = sorted(ROOT.rglob("*.py"))
FREE = (ROOT / "__init__.py", ROOT / "__main__.py")
"""What stands at the end, and imports the package as its users do."""
LONGEST = 450


def code_lines(source: str) -> int:
    """Lines that hold code: neither blank nor comment nor docstring."""
    documentation = set()
    for node in ast.walk(ast.parse(source)):
        value = getattr(node, "value", None)
        if isinstance(node, ast.Expr) and isinstance(getattr(value, "value", None), str):
            documentation.update(range(node.lineno, node.end_lineno + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#")
        for number, line in enumerate(source.splitlines(), 1)
        if number not in documentation
    )


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of the modules imported anywhere but for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and is_type_checking(node):
            for other in node.orelse:
                yield from imports(other)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module == "lazynet":
                yield from (f"lazynet.{alias.name}" for alias in node.names)
        else:
            yield from imports(node)


def violations(component: str, source: str) -> list[str]:
    """Imports in the source of a module of this component that point to the right."""
    found = []
    for imported in imports(ast.parse(source)):
        package, _, rest = imported.partition(".")
        if package == "cupy" and component != "backend":
            found.append("cupy, which only backend imports")
        elif package == "":
            found.append(f"{imported}: relative imports hide the direction")
        elif package == "lazynet":
            target = rest.partition(".")[0]
            if target == component:
                continue
            if target not in ORDER:
                found.append(f"{imported}: not a module that ORDER knows")
            elif ORDER.index(target) > ORDER.index(component):
                found.append(f"{imported} stands to the right of {component}")
    return found


@pytest.mark.parametrize("path", [p for p in MODULES if p not in FREE], ids=name_of)
def test_imports_point_left(path: Path) -> None:
    component = name_of(path).partition("/")[0]
    assert component in ORDER, f"give {component} its place in ORDER"
    assert violations(component, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "from lazynet.ops.reduce import Sum",
        "import lazynet.ops",
        "import lazynet",
        "from lazynet import ops",
        "def f():\n    from lazynet.ops import linalg",
        "from .. import ops",
        "from lazynet.unheard_of import x",
        "import cupy.cuda",
    ],
)
def test_an_import_to_the_right_is_found(source: str) -> None:
    assert violations("schedule", source) != []


def test_an_import_for_type_checkers_is_allowed() -> None:
    source = "if TYPE_CHECKING:\n    from lazynet.nn import LSTM\nfrom lazynet.kinds import Op"
    assert violations("schedule", source) == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_long(path: Path) -> None:
    lines = code_lines(path.read_text(encoding="utf-8"))
    assert lines <= LONGEST, f"{lines} lines of code: split it"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_functions_and_classes_have_docstrings(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    overloads = [n for n in public if "overload" in map(ast.unparse, n.decorator_list)]
    assert [n.name for n in public if not ast.get_docstring(n) and n not in overloads] == []


def test_import_is_light() -> None:
    heavy = "cupy numba networkx scipy.special safetensors tqdm matplotlib json html".split()
    heavy += ["lazynet.inspect.draw", "lazynet.inspect.view"]
    code = f"import sys, lazynet; print(*[m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_what_is_imported_later_is_there() -> None:
    names = "Picture draw explain explore profile to_dot to_networkx".split()
    code = (
        "import lazynet as ln; x = ln.plan(ln.constant(1.0)).draw(); ln.inspect\n"
        f"print(*[n for n in {names} if n not in dir(ln) or not callable(getattr(ln, n))])\n"
        "print(hasattr(ln, 'unheard_of'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\nFalse\n"


def test_all_is_sorted() -> None:
    assert list(ln.__all__) == sorted(set(ln.__all__))


def test_all_is_complete() -> None:
    public = {
        name
        for name, value in vars(ln).items()
        if not name.startswith("_") and name != "annotations" and not isinstance(value, ModuleType)
    }
    assert public - set(ln.__all__) == set()
    assert [name for name in ln.__all__ if not hasattr(ln, name)] == []


@pytest.mark.parametrize("name", ln.__all__)
def test_everything_public_has_a_docstring(name: str) -> None:
    value = getattr(ln, name)
    if not isinstance(value, str):
        assert inspect.getdoc(value)


@pytest.mark.parametrize("name", HOST_ONLY)
def test_what_is_left_out_on_a_gpu_is_there(name: str) -> None:
    path, _, test = name.partition("::")
    source = (Path(__file__).parents[1] / path).read_text("utf-8")
    assert not test or f"def {test.partition('[')[0]}(" in source
