"""The notebooks of the tutorial run, and what is committed of them can be read anywhere."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "examples" / "tutorial"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 300_000
"""Bytes: a page that shows a notebook must load quickly."""
ABSOLUTE = re.compile(
    r"(?<![\w./:>])/(?:bin|home|mnt|opt|root|srv|tmp|usr|var|work|Users)/|\b[A-Z]:\\\\"
)
"""A path of the machine that a notebook was run on."""

of_each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return notebook


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [cell for cell in read(path)["cells"] if cell["cell_type"] == kind]


def text_of(source: str | list[str]) -> str:
    return source if isinstance(source, str) else "".join(source)


@of_each
def test_it_runs(path: Path, tmp_path: Path) -> None:
    script = FOLDER / "execute.py"
    done = subprocess.run(
        [sys.executable, str(script), "--smoke", "--output", str(tmp_path), str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "LAZYNET_DATA": "/nonexistent",  # a notebook that asked for real data would fail
            "OPENBLAS_NUM_THREADS": "1",
        },
    )
    assert done.returncode == 0, done.stderr
    ran = [cell["execution_count"] for cell in cells(tmp_path / path.name, "code")]
    assert ran == list(range(1, len(ran) + 1))


@of_each
def test_it_was_run_as_a_whole(path: Path) -> None:
    code = cells(path, "code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [out for cell in code for out in cell["outputs"]]
    assert outputs
    assert {out["output_type"] for out in outputs} <= {"stream", "display_data", "execute_result"}
    assert "stderr" not in {out.get("name") for out in outputs}
    assert not re.search(r" at 0x[0-9a-f]{6}", json.dumps(outputs))  # would differ in every run


@of_each
def test_it_holds_nothing_of_the_machine(path: Path) -> None:
    notebook = read(path)
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        pictures = [out.get("data", {}).pop("image/png", "") for out in cell.get("outputs", [])]
        assert all(isinstance(picture, str) for picture in pictures)
        found = ABSOLUTE.search(json.dumps(cell))
        assert found is None, json.dumps(cell)[found.start() - 40 : found.end() + 40]


@of_each
def test_its_form(path: Path) -> None:
    notebook = read(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    names = [cell["id"] for cell in notebook["cells"]]
    assert len(set(names)) == len(names)
    assert path.stat().st_size <= LARGEST
    first = notebook["cells"][0]
    assert first["cell_type"] == "markdown"
    assert text_of(first["source"]).startswith("# ")


@of_each
def test_pictures_can_be_seen_without_running_anything(path: Path) -> None:
    kinds = [out.get("data", {}).keys() for cell in cells(path, "code") for out in cell["outputs"]]
    assert any({"image/png", "image/svg+xml"} & set(kind) for kind in kinds)


@of_each
def test_what_it_links_to_exists(path: Path) -> None:
    text = "\n".join(text_of(cell["source"]) for cell in cells(path, "markdown"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not target.startswith(("https://", "#")):
            assert (FOLDER / target.partition("#")[0]).exists(), target
    for target in re.findall(r"`((?:examples|tests|benchmarks|docs)/[\w/]+\.\w+)`", text):
        assert (FOLDER.parents[1] / target).exists(), target


def test_the_readme_names_every_notebook() -> None:
    readme = (FOLDER.parents[1] / "README.md").read_text("utf-8")
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert f"(examples/tutorial/{path.name})" in readme


def test_what_other_toolkits_put_out_is_kept_where_one_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("execute_tutorial", FOLDER / "execute.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "find_spec", lambda name: None if name == "dynet" else spec)
    copy = tmp_path / "3_toolkits.ipynb"
    copy.write_text("not even a notebook")
    monkeypatch.setattr(sys, "argv", ["execute.py", str(copy)])
    assert script.main() == 0
    assert "not installed here: dynet" in capsys.readouterr().out
    assert copy.read_text() == "not even a notebook"
    monkeypatch.setattr(script, "find_spec", lambda name: spec)
    assert script.loses(copy) == ""


def test_what_a_gpu_put_out_is_kept_where_there_is_none(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "cupy.py").write_text("raise ImportError('hidden')\n")
    copy = tmp_path / "7_gpu.ipynb"
    copy.write_bytes((FOLDER / copy.name).read_bytes())
    paths = [str(hidden), str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, str(FOLDER / "execute.py"), str(copy)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    assert done.returncode == 0, done.stderr
    assert "7_gpu.ipynb: left as it is" in done.stdout
    assert copy.read_bytes() == (FOLDER / copy.name).read_bytes()
