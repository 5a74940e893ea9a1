"""Runs the benchmark suite and writes JSON, a table and plots.

    python -m benchmarks.suite                                          everything
    python -m benchmarks.suite --tasks tree,tagger --hidden 50 --threads 1 --rounds 7
    python -m benchmarks.suite --quick                                  a first look
    python -m benchmarks.suite --report                                 no runs: from the JSON

Results of settings that are run again replace the earlier ones in the JSON file.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.suite.driver import measure, settings
from benchmarks.suite.report import plots, summary, table
from benchmarks.suite.tasks import TASKS
from benchmarks.waiting import add_device


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tasks", default=",".join(TASKS), help="default: %(default)s")
    parser.add_argument("--hidden", default="50,256", help="default: %(default)s")
    parser.add_argument("--threads", default="1,2", help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--systems", default="", help="parts of names, such as lazynet,batched")
    parser.add_argument("--trees", help="file of trees, one s-expression a line; default: drawn")
    parser.add_argument("--quick", action="store_true", help="hidden 50, one thread, 3 rounds")
    parser.add_argument(
        "--cpu-time", action="store_true", help="of the process: where a machine is shared"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--no-plots", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results")
    add_device(parser)
    options = parser.parse_args()
    if options.quick:
        options.hidden, options.threads, options.rounds = "50", "1", 3
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "suite.json"
    runs = json.loads(path.read_text()) if path.exists() else []
    if not options.report:
        for config in settings(options):
            new = measure(config)
            if new is None:
                continue
            print(table([new]), flush=True)
            key = ("task", "hidden", "threads", "device")
            runs = [run for run in runs if any(run.get(k, "cpu") != new[k] for k in key)] + [new]
            order = list(TASKS)
            runs.sort(key=lambda run: (order.index(run["task"]), run["hidden"], run["threads"]))
            path.write_text(json.dumps(runs, indent=1) + "\n")
    text = summary(runs)
    (options.out / "suite.md").write_text(text + "\n" + table(runs))
    print(text)
    if not options.no_plots:
        plots(runs, options.out)


if __name__ == "__main__":
    main()
