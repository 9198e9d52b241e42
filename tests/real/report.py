"""The page of the real model from the runs' figures: `python report.py DIRECTORY [PAGE.md]`.

Exits with 1 where a loss does not fall, or two backends do not agree.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from run import HELD_OUT, SHARED, TRAINED

AGREE = {"sft": 2e-2, "osft": 5e-2, "lora_sft": 2e-2}
"""Largest difference of the loss between backends at any step."""


def page(runs: dict[str, list[dict[str, Any]]]) -> tuple[list[str], list[str]]:
    """The page, and what is not as it should be."""
    lines = [
        "# A real model",
        "",
        f"SmolLM2-135M-Instruct, trained on {TRAINED} real conversations, all of them in each of {SHARED['num_epochs']}",
        f"steps, and measured by transformers alone on {HELD_OUT} others. Made by `nox -s real -- ROWS`, where ROWS is a",
        "dataset of conversations; here Glaive's, of those without calls. Without a GPU, instructlab-training and",
        "mini-trainer run by the stand-in of `tests/cpu_device`, in float32 and in one thread; the former's base, and so",
        "what it saves, is in float32. The others save in bfloat16, as their base is, where updates as small as those of",
        "five steps are rounded away in part: compare what they lose after the same losses.",
        "",
        "| algorithm | backend | loss of each step | held out: before | after | training, s | on |",
        "|---|---|---|---|---|---|---|",
    ]
    failures = []
    for algorithm, found in runs.items():
        for run in found:
            losses = " ".join(f"{loss:.4f}" for loss in run["losses"])
            before, after = run["before"]["loss"], run["after"]["loss"]
            name = f"{algorithm} on {run['backend']}"
            lines.append(
                f"| `{algorithm}` | {run['backend']} | {losses} | {before:.4f} | {after:.4f} | {run['seconds']:.0f} "
                f"| {run['device']} |"
            )
            if after >= before or run["losses"][-1] >= run["losses"][0]:
                failures.append(f"{name}: the loss does not fall")
            pairs = zip(found[0]["losses"], run["losses"], strict=True)
            if (apart := max(abs(one - other) for one, other in pairs)) > AGREE[algorithm]:
                failures.append(
                    f"{name}: {apart:.1e} from {found[0]['backend']} at a step, goal {AGREE[algorithm]:.0e}"
                )
    lines += ["", "## What it answers", "", "To the first questions of three held-out conversations, token by token."]
    first = next(iter(runs.values()))[0]
    for number, before in enumerate(first["before"]["answers"], 1):
        lines += ["", f"{number}.", f"   - before: {_quoted(before)}"]
        for algorithm, found in runs.items():
            lines.append(
                f"   - `{algorithm}` on {found[0]['backend']}: {_quoted(found[0]['after']['answers'][number - 1])}"
            )
    return lines, failures


def _quoted(text: str) -> str:
    return "“" + " ".join(text.split()).replace("|", "\\|") + "”"


def main() -> int:
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for algorithm in AGREE:
        for file in sorted(Path(sys.argv[1]).glob(f"*-{algorithm}-*.json")):
            found = json.loads(file.read_text(encoding="utf-8"))
            if found["algorithm"] == algorithm:
                runs[algorithm].append(found)
        runs[algorithm].sort(key=lambda run: run["backend"] != "trl")
    lines, failures = page(runs)
    for target in sys.argv[2:]:
        Path(target).write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join([*lines, *failures]) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
