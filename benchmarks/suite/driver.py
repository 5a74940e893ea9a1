"""One process for each setting: the number of threads is fixed when BLAS and OpenMP are loaded."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "LAZYNET_NUM_THREADS")


def settings(options: argparse.Namespace) -> list[dict[str, Any]]:
    """What the command line asks for."""
    return [
        {
            "task": task,
            "hidden": int(hidden),
            "threads": int(threads),
            "rounds": options.rounds,
            "device": options.device,
            "cpu time": options.cpu_time,
            "systems": [s.lower() for s in options.systems.split(",") if s],
            "trees": str(Path(options.trees).resolve()) if options.trees else None,
        }
        for task in options.tasks.split(",")
        for hidden in options.hidden.split(",")
        for threads in options.threads.split(",")
    ]


def measure(config: dict[str, Any]) -> dict[str, Any] | None:
    """Run one setting; None if its process failed."""
    environment = dict(os.environ, **dict.fromkeys(THREADS, str(config["threads"])))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, "-m", "benchmarks.suite.worker", json.dumps(config), str(out)]
        start = time.perf_counter()
        process = subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        if process.returncode or not out.exists():
            where = f"{config['task']}, hidden {config['hidden']}, threads {config['threads']}"
            print(f"{where} failed ({process.returncode}):\n{process.stderr.decode()[-4000:]}")
            return None
        result: dict[str, Any] = json.loads(out.read_text())
        result["seconds"] = round(time.perf_counter() - start, 1)
        return result
