"""The table, the summary with its targets, and the plots, from the results of runs."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.suite.tasks import TASKS

PHASES = ["build", "schedule", "forward", "backward", "update"]
Run = dict[str, Any]
Rounds = dict[str, dict[str, float]]

OURS, BY_OP, BATCHED = "lazynet", "lazynet op by op", "PyTorch batched by hand"


def time_of(phases: dict[str, float], update: bool = True) -> float:
    """Milliseconds of one update."""
    return sum(v for k, v in phases.items() if update or k != "update")


def totals(run: Run, name: str, update: bool = True) -> dict[str, float]:
    """Milliseconds by round; empty where the system did not run."""
    rounds: Rounds = run["systems"].get(name, {}).get("rounds", {})
    return {k: time_of(phases, update) for k, phases in rounds.items()}


def ratio(run: Run, slower: str, faster: str, update: bool = True) -> float | None:
    """How many times `faster` goes into `slower`: the median over rounds that both ran."""
    a, b = totals(run, slower, update), totals(run, faster, update)
    values = [a[k] / b[k] for k in a if k in b]
    return statistics.median(values) if values else None


def best_dynet(run: Run, update: bool = True) -> str | None:
    """The autobatch setting with the least median time."""
    names = [n for n in run["systems"] if n.startswith("DyNet") and totals(run, n)]
    if not names:
        return None
    return min(names, key=lambda n: statistics.median(totals(run, n, update).values()))


def over_floor(run: Run) -> float | None:
    """Time without the update, over the bare products of the same round."""
    ours = totals(run, OURS, update=False)
    values = [v / run["floor"][int(k)] for k, v in ours.items()]
    return statistics.median(values) if values else None


# Markdown


def lines_of(columns: list[str], rows: list[list[str]]) -> list[str]:
    bars = ["---"] + ["--:"] * (len(columns) - 1)
    return [f"| {' | '.join(cells)} |" for cells in [columns, bars, *rows]]


def heading(run: Run) -> str:
    threads = "1 thread" if run["threads"] == 1 else f"{run['threads']} threads"
    where = "" if run.get("device", "cpu") == "cpu" else f", {run['device']}"
    where += ", CPU time" if run.get("clock") == "CPU" else ""
    return f"{TASKS[run['task']].title}, hidden {run['hidden']}, {threads}{where}"


def named(run: Run) -> str:
    """The task, and what was timed if that is not the time that passed."""
    return f"{run['task']} (CPU time)" if run.get("clock") == "CPU" else str(run["task"])


def what(run: Run) -> str:
    """What is timed, of how many examples."""
    kind = "update" if TASKS[run["task"]].trains else "decode"
    return f"{kind} of {run['examples']}"


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def table(runs: list[Run]) -> str:
    """Every system of every run, phase by phase."""
    parts = []
    for run in runs:
        rows = []
        for name, entry in run["systems"].items():
            rounds: Rounds = entry["rounds"]
            if not rounds:
                why = entry.get("error", "not run").strip().splitlines()[-1]
                rows.append([name, *["-"] * len(PHASES), f"failed: {why}", *["-"] * 5])
                continue
            medians = [statistics.median(r[p] for r in rounds.values()) for p in PHASES]
            all_, without = totals(run, name), totals(run, name, update=False)
            middle = statistics.median(all_.values())
            spread = f"{number(min(all_.values()))} - {number(max(all_.values()))}"
            rows.append(
                [
                    name,
                    *[number(m) if m else "-" for m in medians],
                    f"{number(middle)} ({spread})",
                    number(statistics.median(without.values())),
                    number(1e3 * run["examples"] / middle),
                    *[f"{loss:.5f}" for loss in entry["losses"][:2]],
                    str(len(rounds)),
                ]
            )
        floor = statistics.median(run["floor"])
        spread = f"{number(min(run['floor']))} - {number(max(run['floor']))}"
        rows.append(
            ["floor", *["-"] * len(PHASES), f"{number(floor)} ({spread})", number(floor)]
            + ["-"] * 3
            + [str(len(run["floor"]))]
        )
        columns = [f"ms per {what(run)}", *PHASES]
        columns += ["all (least - most)", "without update", "examples/s"]
        columns += ["loss at update 1", "at update 2", "rounds"]
        parts += ["", f"### {heading(run)}", "", *lines_of(columns, rows), ""]
        for name in (OURS, BY_OP):
            plan = run["systems"].get(name, {}).get("plan")
            if plan and "evaluations" in plan:
                parts.append(
                    f"{name}: {plan['batches']} batches forward in {plan['evaluations']} "
                    "evaluations."
                )
            elif plan:
                parts.append(
                    f"{name}: {plan['nodes']} nodes in {plan['batches']} batches (lower bound "
                    f"{plan['lower bound']}, {plan['nodes'] / plan['batches']:.1f} nodes a batch)."
                )
        parts.append(agreement(run))
        mflop = run["floor MFLOP"]
        speed = mflop / floor
        parts.append(f"Floor: {mflop:.0f} MFLOP, {speed:.0f} GFLOP/s. {TASKS[run['task']].note}")
    return "\n".join(parts)


def agreement(run: Run) -> str:
    """How far losses lie apart, relative to lazynet op by op, and whose lies farthest."""
    texts = []
    for update in (0, 1):
        losses = {n: e["losses"][update] for n, e in run["systems"].items() if e["rounds"]}
        one = losses.get(BY_OP) or next(iter(losses.values()))
        apart = {name: abs(loss / one - 1) for name, loss in losses.items()}
        farthest = max(apart, key=lambda n: apart[n])
        texts.append(f"{apart[farthest]:.0e} ({farthest})")
    return f"Losses differ by at most {texts[0]} at update 1 and {texts[1]} at update 2."


def targets(run: Run) -> list[str]:
    """Which targets of this setting are missed; where a softmax rules, only the floor counts."""
    small, missed = run["hidden"] < 150, []

    def want(what: str, value: float | None, bound: float, least: bool) -> None:
        if value is not None and (value < bound if least else value > bound):
            sign = ">=" if least else "<="
            missed.append(f"{what} {value:.2f} (wanted {sign} {bound:g})")

    dynet = best_dynet(run)
    if TASKS[run["task"]].exponentials:
        want("floor", over_floor(run), 1.3, least=False)
    else:
        if small or run["threads"] == 1:
            if dynet:
                want("DyNet", ratio(run, dynet, OURS), 3 if small else 2, least=True)
            want("PyTorch", ratio(run, BATCHED, OURS), 1.5 if small else 2, least=True)
        want("floor", over_floor(run), 3 if small else 1.5, least=False)
    if dynet:
        want("op by op", ratio(run, dynet, BY_OP), 1, least=True)
    return missed


def summary(runs: list[Run]) -> str:
    """One line per setting."""
    if not runs:
        return "nothing measured"
    columns = ["task", "hidden", "threads", "lazynet ms", "examples/s", "op by op ms"]
    columns += ["DyNet ms (autobatch)", "PyTorch ms", "floor ms", "x DyNet", "x PyTorch"]
    columns += ["op by op x DyNet", "over floor", "targets missed"]
    rows = []
    for run in runs:

        def middle(name: str | None, run: Run = run) -> str:
            values = totals(run, name).values() if name else ()
            return number(statistics.median(values)) if values else "-"

        def pair(slower: str | None, faster: str, run: Run = run) -> str:
            if slower is None:
                return "-"
            other = best_dynet(run, update=False) if slower.startswith("DyNet") else slower
            assert other is not None
            without = ratio(run, other, faster, update=False)
            return f"{times(ratio(run, slower, faster))} ({times(without)})"

        dynet = best_dynet(run)
        ours = totals(run, OURS).values()
        speed = number(1e3 * run["examples"] / statistics.median(ours)) if ours else "-"
        rows.append(
            [
                named(run),
                str(run["hidden"]),
                str(run["threads"]),
                middle(OURS),
                speed,
                middle(BY_OP),
                f"{middle(dynet)} ({dynet.removeprefix('DyNet autobatch ')})" if dynet else "-",
                middle(BATCHED),
                number(statistics.median(run["floor"])),
                pair(dynet, OURS),
                pair(BATCHED, OURS),
                pair(dynet, BY_OP),
                times(over_floor(run)),
                "; ".join(targets(run)) or "none",
            ]
        )
    least = ["task", "hidden", "threads", "x DyNet", "x PyTorch", "op by op x DyNet", "over floor"]
    latest = max(runs, key=lambda run: run["date"])
    versions = ", ".join(f"{k} {v}" for k, v in latest["versions"].items())
    return "\n".join(
        [
            "# Benchmark suite",
            "",
            f"{latest['date']}, {latest['processor']}; {versions}.",
            "",
            "Milliseconds per update of 64 examples (per decode where nothing is learned): medians",
            "over interleaved rounds on fresh minibatches, of CPU time where the task says so.",
            '"x DyNet" is how many times as fast as its best autobatch setting, in',
            "parentheses without the update (PyTorch's Adam goes through the whole of an embedding",
            "table, DyNet's and lazynet's through the rows that were looked up). DyNet has one",
            'thread in all runs. "Over floor" is the time without the update over that of the bare',
            "matrix products. Losses at the first two updates show that it is the same work.",
            "",
            *lines_of(columns, rows),
            "",
            "The same ratios from the least times of each, which a busy machine disturbs less:",
            "",
            *lines_of(least, [least_ratios(run) for run in runs]),
        ]
    )


def least_ratios(run: Run) -> list[str]:
    """Ratios of the shortest times over all rounds; with the update, except over the floor."""

    def least(names: list[str], update: bool = True) -> float | None:
        values = [v for name in names for v in totals(run, name, update).values()]
        return min(values) if values else None

    def over(a: float | None, b: float | None) -> str:
        return times(a / b if a and b else None)

    dynet = least([name for name in run["systems"] if name.startswith("DyNet")])
    return [
        named(run),
        str(run["hidden"]),
        str(run["threads"]),
        over(dynet, least([OURS])),
        over(least([BATCHED]), least([OURS])),
        over(dynet, least([BY_OP])),
        over(least([OURS], update=False), min(run["floor"])),
    ]


# Plots

COLORS = ["#b0b7c3", "#7d5ba6", "#2a7ab9", "#55b6a6", "#e0a03c"]


def plots(runs: list[Run], folder: Path) -> None:
    """One picture per task: bars of each system, phase by phase, a panel for each setting."""
    try:
        import matplotlib
    except ImportError:
        print("no plots: matplotlib is not installed (pip install '.[bench]')")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    for task in dict.fromkeys(run["task"] for run in runs):
        chosen = [run for run in runs if run["task"] == task]
        hidden = sorted({run["hidden"] for run in chosen})
        threads = sorted({run["threads"] for run in chosen})
        shape = len(hidden), len(threads)
        figure, axes = pyplot.subplots(
            *shape, figsize=(6.4 * shape[1], 3.2 * shape[0]), squeeze=False
        )
        for axis in axes.flat:
            axis.set_axis_off()
        for run in chosen:
            axis = axes[hidden.index(run["hidden"])][threads.index(run["threads"])]
            axis.set_axis_on()
            panel(axis, run)
        figure.suptitle(f"{TASKS[task].title}: ms per {what(chosen[0])}")
        handles, labels = next(a for a in axes.flat if a.axison).get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncol=len(PHASES), frameon=False)
        figure.tight_layout(rect=(0, 0.05, 1, 1))
        figure.savefig(folder / f"{task}.png", dpi=80)
        pyplot.close(figure)


def panel(axis: Any, run: Run) -> None:
    """One setting; bars beyond three times PyTorch's or DyNet's best are cut, with their number."""
    names = [name for name in run["systems"] if totals(run, name)]
    middles = {name: statistics.median(totals(run, name).values()) for name in names}
    limit = 1.2 * min(max(middles.values()), 3 * sorted(middles.values())[len(names) // 2])
    for row, name in enumerate(names):
        left = 0.0
        for phase, color in zip(PHASES, COLORS):
            width = statistics.median(r[phase] for r in run["systems"][name]["rounds"].values())
            axis.barh(row, width, left=left, color=color, label=phase if row == 0 else None)
            left += width
        axis.text(min(left, limit * 0.9), row, f" {number(middles[name])}", va="center", fontsize=8)
    floor = statistics.median(run["floor"])
    axis.axvline(floor, color="black", linewidth=1, linestyle=":")
    axis.text(floor, -0.75, f"floor {number(floor)}", fontsize=8, ha="center")
    shown = [name.replace("autobatch ", "") for name in names]
    axis.set_yticks(range(len(names)), shown, fontsize=8)
    axis.set_ylim(len(names) - 0.4, -1.1)
    axis.set_xlim(0, limit)
    threads = "1 thread" if run["threads"] == 1 else f"{run['threads']} threads"
    axis.set_title(f"hidden {run['hidden']}, {threads}", fontsize=10)
