"""The page of faults from what the tests wrote down: `python report.py DIRECTORY [PAGE.md]`.

Exits with 1 where something was lost, or fewer kills were tried than are asked for.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

Record = dict[str, Any]

KILL = "SIGKILL"
LEAST_KILLS = 20
KINDS = {
    KILL: "the calling process is killed at a random moment: of its training, of the start-up of the run that goes on, "
    "of a save of that one, and of the save of the trained model at its end",
    "a killed rank": "one of two workers is killed by SIGKILL at a random step; the run fails and names it",
    "SIGTERM during a save": "the run is asked to end while a checkpoint is half-written; it saves and ends",
    "a loss that is NaN": "the run ends before such weights are saved, and goes on from the last checkpoint",
    "a disk that fills": "somebody else takes all of the disk at a random step, or all but a part of a megabyte; the "
    "run fails and says so; then there is room again",
    "the lock's holder killed": "a second run in the directory is refused; the first is killed; a third goes on at once",
    "a torn events line": "after a kill the last line of `events.jsonl` is cut at a random byte",
}
"""What is done, in the order of the page."""

FOUND = (
    "killed as the trained model was saved, a run that went on kept a half-written copy of "
    "the weights in `final` (`trl`, `osft`, 1 process; all four kills of that run counted as lost)",
    "`instructlab-training`: a run killed once its `final` was there could not be gone on with (directory not empty)",
    "`mini-trainer`: a run killed after its last checkpoint could not be gone on with (no step was left to name)",
    "core: a run killed twice before it began to train, or as its directory was made ready, refused to start again",
    "core: workers that were still being started when their caller was killed trained beside the next run",
    "core: on a full disk the cause was hidden by a second error, and an event written in part passed for written",
    "core: `git status`, ended when it took too long, left a lock in the repository that the run was called in",
)
"""What was wrong when these faults were first tried, and is mended: the page hides no loss."""


def read(directory: Path) -> list[Record]:
    return [
        json.loads(line) for path in sorted(directory.glob("*.jsonl")) for line in path.read_text().splitlines() if line
    ]


def summary(records: list[Record]) -> list[str]:
    """Counts by kind of fault and run."""
    groups: dict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in records:
        order = list(KINDS).index(record["kind"]), record["backend"] != "trl", record["backend"]
        groups[*order, record["algorithm"], record["processes"]].append(record)
    lines = [
        "| fault | backend | algorithm | processes | tried | of them in a save | steps done again, at most "
        "| difference of a loss, at most | of a weight | lost |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for _, found in sorted(groups.items(), key=lambda item: item[0]):
        one = found[0]
        lost = [what for record in found for what in record["lost"]]
        lines.append(
            f"| {one['kind']} | `{one['backend']}` | `{one['algorithm']}` | {one['processes']} | {len(found)} "
            f"| {sum(record['saving'] for record in found)} | {most(found, 'repeated')} "
            f"| {most(found, 'loss_difference')} | {most(found, 'weight_difference')} "
            f"| {'; '.join(lost) or 'nothing'} |"
        )
    return lines


def most(records: list[Record], name: str) -> str:
    found = [record[name] for record in records if record[name] is not None]
    return f"{max(found):.3g}" if found else "-"


def each(records: list[Record]) -> list[str]:
    """Every fault on a line."""
    lines = ["| fault | run | moment | step | gone on from | lost |", "|---|---|---|---|---|---|"]
    for record in records:
        name = f"`{record['backend']}` {record['algorithm']}, {record['processes']}"
        moment = record["moment"] + (", in a save" if record["saving"] else "")
        start = "not needed" if record["resumed_from"] is None else record["resumed_from"]
        lines.append(
            f"| {record['kind']} | {name} | {moment} | {record['told']} | {start} "
            f"| {'; '.join(record['lost']) or 'nothing'} |"
        )
    return lines


def page(records: list[Record]) -> list[str]:
    kills = sum(record["kind"] == KILL for record in records)
    saves = sum(record["saving"] for record in records)
    lost = [record for record in records if record["lost"]]
    seeds = sorted({str(record["seed"]) for record in records})
    frameworks = sorted({record["framework"] for record in records} | {f"torch {r['torch']}" for r in records})
    return [
        "# Faults",
        "",
        f"**{len(records)} faults tried, {kills} of them kills by SIGKILL; {saves} struck while a checkpoint was "
        f"half-written. Lost: {'nothing' if not lost else f'something in {len(lost)} of them'}.**",
        "",
        "Each run has 35 steps on 50 rows, and a checkpoint after each seven. After its faults it goes on to its end, and",
        "is held against the same run that nothing happened to. Something is lost where",
        "",
        "- a complete checkpoint, or one that the events had told of, is not gone on from;",
        "- a line of the events that was whole is gone or changed;",
        "- at the end a step, an epoch, a checkpoint or a file of the trained model is missing;",
        "- the loss of any step, or any trained weight, differs by more than 1e-6.",
        "",
        "What is not lost is done again: the steps since the last checkpoint.",
        "",
        f"Tried on {records[0]['device']}: {', '.join(frameworks)}.",
        f"`TRAINING_HUB_FAULT_SEED={seeds[0]} nox -s faults` tries them again.",
        "The seed draws the moments; as they are moments of the clock, they come again only nearly. Without it others are",
        "drawn. Where a framework needs a GPU and none is there, its own unmodified training loop runs on the CPU by the",
        "stand-in of `tests/cpu_device`.",
        "",
        *summary(records),
        "",
        "What is done:",
        "",
        *(f"- **{kind}**: {what}." for kind, what in KINDS.items()),
        "",
        "## Lost at first",
        "",
        "When these faults were first tried, not all went well. The following was mended, each with a test that had",
        "failed. Runs that had lost something were tried again after that; the counts above are of the second try.",
        "",
        *(f"- {what}." for what in FOUND),
        "",
        "## Each of them",
        "",
        "`step` is the last one told when the fault struck. What struck one run follows one another in the table.",
        "",
        *each(records),
    ]


def main() -> int:
    records = read(Path(sys.argv[1]))
    lines = page(records)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines[2:3]))  # noqa: T201
    kills = sum(record["kind"] == KILL for record in records)
    return int(kills < LEAST_KILLS or any(record["lost"] for record in records))


if __name__ == "__main__":
    sys.exit(main())
