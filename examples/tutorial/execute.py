"""Run the notebooks of the tutorial and keep what they print and draw.

`make tutorial` runs all of them on the real data, in place; `--smoke` takes made-up data and few
updates, and keeps nothing unless `--output` says where.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

import lazynet as ln

FOLDER = Path(__file__).parent
STRICT = """
import warnings

warnings.simplefilter("error")
warnings.filterwarnings("default", module="IPython|ipykernel|jupyter_client|tornado|traitlets|zmq")
"""
"""Run before the first cell: what warns, but for the kernel itself, is not fit for a tutorial."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="default: all")
    parser.add_argument("--smoke", action="store_true", help="made-up data, a few updates: seconds")
    parser.add_argument(
        "--output", type=Path, help="folder for the results; default: in place, none with --smoke"
    )
    options = parser.parse_args()

    failed = False
    in_place = options.output is None and not options.smoke
    for path in options.notebooks or sorted(FOLDER.glob("*.ipynb")):
        if in_place and (why := loses(path)):
            print(f"{path.name}: left as it is, for it would lose {why}")
            continue
        print(f"{path.name} ...", flush=True)
        try:
            notebook = execute(path, options.smoke)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            print(f"{path.name}: {error}", file=sys.stderr)
            failed = True
            continue
        if options.output is not None:
            options.output.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, options.output / path.name)
        elif in_place:
            nbformat.write(notebook, path)
    return int(failed)


def loses(path: Path) -> str:
    """What of its outputs a notebook would lose if it was run here, and why; empty if nothing."""
    if path.stem.endswith("_gpu"):
        try:
            ln.Model(device="cuda")
        except ln.DeviceError as error:
            return f"what a GPU did: {error}"
    if path.stem.endswith("_toolkits"):
        missing = [name for name in ("torch", "tensorflow", "dynet") if find_spec(name) is None]
        if missing:
            return f"what other toolkits did: not installed here: {', '.join(missing)}"
    return ""


def execute(path: Path, smoke: bool) -> nbformat.NotebookNode:
    """Run a notebook's cells from first to last in a fresh kernel, in the notebook's folder."""
    notebook = nbformat.read(path, as_version=4)
    cells = notebook.cells
    environment = {name: text for name, text in os.environ.items() if name != "LAZYNET_SMOKE"}
    if smoke:
        environment["LAZYNET_SMOKE"] = "1"
    # Settings and history of whoever runs this must not matter, nor be touched.
    with tempfile.TemporaryDirectory() as profile:
        environment["IPYTHONDIR"] = profile
        client = NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=["--log-level=ERROR"],
            resources={"metadata": {"path": str(path.parent.resolve())}},
        )
        with client.setup_kernel(env=environment):
            cells.insert(0, nbformat.v4.new_code_cell(STRICT))
            client.execute_cell(cells[0], 0, store_history=False)
            del cells[0]
            for index, cell in enumerate(cells):
                client.execute_cell(cell, index)
    tidy(notebook)
    return notebook


def tidy(notebook: nbformat.NotebookNode) -> None:
    """Keep of a run what a reader sees, so that a second run changes nothing else."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    count = 0
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        # On stderr there are progress bars alone: warnings are errors.
        cell.outputs = joined([out for out in cell.outputs if out.get("name") != "stderr"])
        for out in cell.outputs:
            if "metadata" in out:
                out.metadata = {}
            if out.output_type == "execute_result":
                out.execution_count = count


def joined(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Outputs with what was printed in one piece, in however many it came."""
    result: list[nbformat.NotebookNode] = []
    for out in outputs:
        if result and out.output_type == result[-1].output_type == "stream":
            result[-1].text += out.text
        else:
            result.append(out)
    return result


if __name__ == "__main__":
    sys.exit(main())
