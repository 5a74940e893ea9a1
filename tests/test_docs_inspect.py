"""What docs/inspect.md shows is what docs/session.py makes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

import lazynet as ln

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "inspect.md").read_text("utf-8")


@pytest.fixture(scope="module")
def session() -> Any:
    spec = spec_from_file_location("session", DOCS / "session.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["session"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["session"]


def without_folder(text: str) -> str:
    return re.sub(r"[^\s`]*session\.py", "session.py", text)


def test_the_report() -> None:
    code = (
        "import lazynet as ln, session as s; batch = s.reviews(64)\n"
        "print(ln.explain(s.Slow(ln.Model(seed=0)).total(batch)))\n"
        "better = s.Better(ln.Model(seed=0))\n"
        "assert len(ln.plan(better.total(batch))) == 16\n"
        "assert len(ln.plan(s.Slow(ln.Model(seed=0)).total(batch[:12]))) == 133\n"
    )
    where = str(Path(ln.__file__).parents[1])
    done = subprocess.run(  # where no other test has recorded the same kinds before
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=DOCS,
        env={**os.environ, "PYTHONPATH": where},
    )
    quoted = re.search(r"```\n(353 batches.*?)```", PAGE, re.DOTALL)
    assert quoted is not None and done.stdout.startswith(quoted[1])


def test_the_program(session: Any) -> None:
    quoted = re.search(r"```py\n(.*?)```", PAGE, re.DOTALL)
    assert quoted is not None
    source = re.sub(r"(: \S+)?\) -> .*:", "):", (DOCS / "session.py").read_text("utf-8"))
    source = source.replace("review: Review", "review").replace("batch: list[Review]", "batch")
    lines = {line.strip() for line in source.splitlines()}
    assert [line for line in quoted[1].splitlines() if line.strip() not in lines] == []


def test_the_anomaly(session: Any) -> None:
    model = session.Unsound(ln.Model(seed=0))
    values = model.emb.value()
    values[0] = 0
    model.emb.array = values
    with ln.detect_anomaly(), pytest.raises(ln.AnomalyError) as caught:
        model.total([*session.reviews(64)[:3], (0, [0], 1)]).backward()
    assert without_folder(str(caught.value)) in PAGE


def test_both_programs_compute_the_same(session: Any) -> None:
    slow, better = session.Slow(ln.Model(seed=0)), session.Better(ln.Model(seed=0))
    table = better.styles.value()
    for k, vector in enumerate(better.style):
        table[k] = vector.value()
    better.styles.array = table
    few = session.reviews(8)
    assert slow.total(few).value() == pytest.approx(better.total(few).value(), rel=1e-5)


def test_the_pictures_are_there_and_small() -> None:
    names = re.findall(r"!\[[^]]+\]\(([\w-]+\.svg)\)", PAGE)
    assert len(names) == 3
    for name in names:
        text = (DOCS / name).read_text("utf-8")
        assert 1_000 < len(text) < 60_000
        assert "/session.py" not in text  # folders of whoever made it
