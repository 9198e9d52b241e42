"""The parity table from the cells' figures: `python report.py DIRECTORY [PAGE.md PICTURE.png]`.

Exits with 1 where a difference is above its goal.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from jobs import ROWS

Found = dict[str, Any]


def label(found: Found) -> str:
    """A column's heading."""
    processes = f"{found['processes']} process{'es' if found['processes'] > 1 else ''}"
    # trl stands in unsloth's environment as well, whose transformers and TRL are older.
    where = f", with {found['environment']}" if found["environment"] == "unsloth" and found["backend"] == "trl" else ""
    return f"{found['backend']}, {processes}{where}"


def difference(one: list[float], other: list[float]) -> float:
    """The largest at any step."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def furthest(run: Found, runs: list[Found]) -> float:
    """The largest difference of a run's losses from any other's."""
    return max(difference(run["losses"], other["losses"]) for other in runs)


def steps_table(runs: list[Found]) -> list[str]:
    """Losses step by step."""
    lines = ["| step | " + " | ".join(label(run) for run in runs) + " |", "|---|" + "---|" * len(runs)]
    for number, row in enumerate(zip(*(run["losses"] for run in runs), strict=True), start=1):
        lines.append(f"| {number} | " + " | ".join(f"{loss:.5f}" for loss in row) + " |")
    lines.append("| **reloaded** | " + " | ".join(f"{run['reloaded']:.5f}" for run in runs) + " |")
    lines.append("| **largest difference** | " + " | ".join(f"{furthest(run, runs):.1e}" for run in runs) + " |")
    return lines


def page(groups: dict[tuple[str, str], list[Found]]) -> tuple[list[str], list[str]]:
    """The page, and what is above its goal."""
    lines, failures = [], []
    for (algorithm, rows), runs in sorted(groups.items()):
        if rows == "all":
            worst = max(furthest(run, runs) for run in runs)
            apart = max(run["reloaded"] for run in runs) - min(run["reloaded"] for run in runs)
            goal = runs[0]["goal"]
            lines += [
                f"## `{algorithm}`, all {ROWS['all']} rows in each step",
                "",
                f"Largest difference at any step: **{worst:.1e}** (goal {goal:.0e}); of the reloaded checkpoints: "
                f"{apart:.1e}. Base model: {runs[0]['base']:.5f}.",
                "",
                *steps_table(runs),
                "",
            ]
            if worst > goal:
                failures.append(f"{algorithm}: {worst:.1e} at a step, goal {goal:.0e}")
            if apart > goal:
                failures.append(f"{algorithm}: reloaded checkpoints are {apart:.1e} apart, goal {goal:.0e}")
            if any(abs(run["losses"][0] - run["base"]) > run["goal_first"] for run in runs):
                failures.append(f"{algorithm}: a first loss is not the base model's")
        else:
            lines += [
                f"## `{algorithm}`, {ROWS['many']} rows, 16 in each step",
                "",
                "Each framework orders rows in its own way, so the steps differ; what is reached does not.",
                "",
                "| run | steps | first loss | last loss | reloaded |",
                "|---|---|---|---|---|",
                *(
                    f"| {label(run)} | {len(run['losses'])} | {run['losses'][0]:.4f} | {run['losses'][-1]:.4f} "
                    f"| {run['reloaded']:.4f} |"
                    for run in runs
                ),
                "",
            ]
            by_backend = defaultdict(list)
            for run in runs:
                by_backend[run["backend"], run["environment"]].append(run["reloaded"])
            failures += [
                f"{algorithm}, {backend}: 1 and 2 processes end apart by {max(ends) - min(ends):.1e}"
                for (backend, _), ends in by_backend.items()
                if max(ends) - min(ends) > 1e-2
            ]
    return lines, failures


def draw(groups: dict[tuple[str, str], list[Found]], path: Path) -> None:
    """The curves of all rows in each step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    chosen = {algorithm: runs for (algorithm, rows), runs in sorted(groups.items()) if rows == "all"}
    figure, every = pyplot.subplots(1, len(chosen), figsize=(5 * len(chosen), 4), layout="constrained", squeeze=False)
    for axes, (algorithm, runs) in zip(every[0], chosen.items(), strict=True):
        for number, run in enumerate(runs):
            steps = range(1, len(run["losses"]) + 1)
            axes.plot(steps, run["losses"], label=label(run), linewidth=5 - 4 * number / len(runs), alpha=0.7)
        axes.set(title=algorithm, xlabel="step", ylabel="loss (nats a trained token)")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130)


def main() -> int:
    found = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
    groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for run in sorted(
        found, key=lambda run: (run["backend"] != "trl", run["environment"], run["backend"], run["processes"])
    ):
        groups[run["algorithm"], run["rows"]].append(run)
    lines, failures = page(groups)
    frameworks = ", ".join(sorted({run["framework"] for run in found}))
    head = [
        "# Parity",
        "",
        "The same job on every backend: the same model, rows and parameters through the hub. Losses in nats a trained",
        "token; `reloaded` is the saved checkpoint's loss over all rows, measured by transformers alone.",
        "",
        f"Made by `nox -s parity` on {found[0]['device']}: {frameworks}. Where a framework needs a GPU and none is there,",
        "its own unmodified training loop runs on the CPU by the stand-in of `tests/cpu_device`, in float32.",
        "",
    ]
    if len(sys.argv) > 2:
        draw(groups, Path(sys.argv[3]))
        head += ["![losses of all backends](parity.png)", ""]
        Path(sys.argv[2]).write_text("\n".join([*head, *lines]).rstrip() + "\n")
    print("\n".join(lines))  # noqa: T201
    print("\n".join(failures) or "every difference is within its goal")  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
