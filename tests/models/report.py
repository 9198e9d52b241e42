"""The table of architectures from its cells: `python report.py DIRECTORY [PAGE.md]`.

Exits with 1 where a cell is neither exact nor refused as expected.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from architectures import ARCHITECTURES
from cells import BACKENDS, DIFFERENT, LOGITS, LOSS, REFUSED

Found = dict[str, Any]
COLUMNS = [(algorithm, backend) for algorithm, carriers in BACKENDS.items() for backend in carriers]


def as_expected(found: Found) -> bool:
    """Whether a cell is exact, or another where that is expected."""
    where = found["backend"], found["algorithm"]
    expected = {"refused": REFUSED.get(where, ()), "differs": DIFFERENT.get(where, ())}
    other = next((verdict for verdict, names in expected.items() if found["architecture"] in names), "exact")
    return bool(found["verdict"] == other)


def table(by_cell: dict[tuple[str, str, str], Found], notes: dict[str, int]) -> list[str]:
    """A line an architecture, with numbers for the reasons."""
    head = [f"`{algorithm}` {backend}" for algorithm, backend in COLUMNS]
    lines = ["| architecture | " + " | ".join(head) + " |", "|---|" + "---|" * len(COLUMNS)]
    for name in ARCHITECTURES:
        cells = [by_cell.get((name, *column)) for column in COLUMNS]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(_said(cell, notes) for cell in cells) + " |")
    return lines


def _said(found: Found | None, notes: dict[str, int]) -> str:
    if found is None:
        return ""
    if found["verdict"] == "exact":
        return "exact"
    reasons = sorted({notes.setdefault(_reason(reason), len(notes) + 1) for reason in found["wrong"]})
    return f"{found['verdict']} ({', '.join(map(str, reasons))})"


def _reason(said: str) -> str:
    """A reason without the figures of one model, so that many share it."""
    said = re.sub(r"^(float32: |bfloat16: |model_path=\S+: )", "", said)
    short = re.sub(r"\d+\.\d%", "less", said.split(" (", 1)[0]) if said.startswith("min_protected_share") else said
    return short if len(short) <= 300 else short[:297] + "..."


def largest(found: list[Found], name: str) -> str:
    """The largest of a figure, over the exact cells."""
    figures = [cell[name] for cell in found if cell["verdict"] == "exact" and name in cell]
    return f"{max(figures):.1e}" if figures else "none"


def page(found: list[Found]) -> list[str]:
    """The page."""
    by_cell = {(cell["architecture"], cell["algorithm"], cell["backend"]): cell for cell in found}
    notes: dict[str, int] = {}
    lines = table(by_cell, notes)
    counts: dict[str, int] = defaultdict(int)
    for cell in found:
        counts[cell["verdict"]] += 1
    frameworks = ", ".join(sorted({f"{cell['framework']} with transformers {cell['transformers']}" for cell in found}))
    kinds = len({cell["architecture"] for cell in found})
    return [
        "# Architectures",
        "",
        f"Small models of {kinds} architectures, trained by each algorithm through the hub: three steps with one row in a",
        "forward pass, and three with four, from the same weights in bfloat16 (instructlab-training: in float32, too). Made by `nox -s models` from",
        f"{frameworks}. Where a framework needs a GPU and none is there, its own unmodified loop runs on the CPU by the",
        "stand-in of `tests/cpu_device`.",
        "",
        "*Exact* means:",
        "",
        f"- the first loss is what transformers alone computes, to {LOSS:.0e}, and it falls;",
        f"- the losses of all steps are the same with one and with four rows in a pass, to {LOSS:.0e};",
        "- transformers alone loads what is saved; names, precisions and shapes of its tensors, what is tied, and its config",
        "  are those of the base;",
        f"- its logits are those of the model in memory, to {LOGITS:.0e}; of `lora_sft` those of `merged`.",
        "",
        f"{', '.join(f'{count} {verdict}' for verdict, count in sorted(counts.items()))}. Largest differences of the exact",
        f"ones: first loss {largest(found, 'first')}, between micro-batches {largest(found, 'micro_batch')}, logits",
        f"{largest(found, 'live')}. An empty cell was not tried. Mixtures of experts train without a router loss here.",
        "",
        *lines,
        "",
        *(f"{number}. {reason}" for reason, number in notes.items()),
    ]


def main() -> int:
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
    if not found:
        print("there are no cells")  # noqa: T201
        return 1
    lines = page(found)
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    print("\n".join(lines))  # noqa: T201
    failures = [cell for cell in found if not as_expected(cell)]
    for cell in failures:
        print(cell["backend"], cell["algorithm"], cell["architecture"], cell["verdict"], *cell["wrong"])  # noqa: T201
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
