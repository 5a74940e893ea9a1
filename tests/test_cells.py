"""Lines of a notebook's cells are named as the reader sees them."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from IPython.core.compilerop import CachingCompiler

import lazynet as ln
from lazynet.cells import cell_of, readable
from lazynet.inspect.source import short, span


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name under which the notebook that runs compiled its cell 7."""
    compiler = CachingCompiler()
    shell = SimpleNamespace(compile=compiler)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    return compiler.cache("x = ln.tanh(y)", 7)


def test_a_cell_is_called_by_its_number(file: str) -> None:
    assert cell_of(file) == "In[7]"
    assert readable(f"{file}:3") == short(f"{file}:3") == "In[7]:3"
    assert span([f"{file}:3", f"{file}:5"]) == "In[7]:3-5"


def test_other_files_stay(file: str) -> None:
    for line in ("net/tagger.py:31", "<stdin>:3", "unknown line", ""):
        assert readable(line) == line


def test_without_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert readable("/a/b.py:3") == "/a/b.py:3"
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert readable("/a/b.py:3") == "/a/b.py:3"


def test_pictures_pages_and_errors_name_the_cell(file: str) -> None:
    names: dict[str, object] = {"ln": ln, "y": ln.constant([0.25, 0.5])}
    with ln.debug():
        exec(compile("\nx = ln.tan(y)", file, "exec"), names)
    x = names["x"]
    assert isinstance(x, ln.Expression)
    for text in (
        str(ln.explain(x)),
        ln.plan(x).draw().svg,
        ln.draw(x).svg,
        ln.explore(x).html,
    ):
        assert "In[7]:2" in text


def test_failures_and_anomalies_name_the_cell(file: str) -> None:
    names: dict[str, object] = {"ln": ln, "y": ln.constant([-1.0, 0.5])}
    with ln.detect_anomaly():
        exec(compile("\nx = ln.log(y)", file, "exec"), names)
        x = names["x"]
        assert isinstance(x, ln.Expression)
        with pytest.raises(ln.AnomalyError, match=r"In\[7\]:2"):
            x.value()
