"""Writes what follows from the code: docs/parameters.md, tables in docs/dpo.md and the plugins' READMEs, and `api.pyi`.

`--check` writes nothing, and says what is out of date. The plugins must be installed; their frameworks need not be.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from stub import stub

from training_hub import AlgorithmRegistry
from training_hub.backends.batches import BatchPlan
from training_hub.backends.devices import Devices
from training_hub.backends.framework_arguments import FrameworkSources
from training_hub.backends.translation import Rule, reference
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters.description import table

ROOT = Path(__file__).parents[1]
ALGORITHMS = ("sft", "osft", "lora_sft")
STUB = ROOT / "core" / "src" / "training_hub" / "api.pyi"
DPO = ROOT / "docs" / "dpo.md"
BEGIN, END = "<!-- table: made by docs/generate.py -->", "<!-- end of table -->"
GPUS = Devices("cuda", 2, ("GPU", "GPU"), bf16=True)
PLAN = BatchPlan(16, 4, 2, 2)
LAUNCH = LaunchPlan("worker", 2)


def parameters() -> str:
    """The reference of all parameters."""
    lines = ["# Parameters", "", "Made from the declarations by `nox -s docs`. None means: not given.", ""]
    for name in ALGORITHMS:
        algorithm = AlgorithmRegistry.get_algorithm(name)
        summary = (algorithm.__doc__ or "").split("\n\n")[0]
        lines += [f"## `{name}`", "", summary, "", table(algorithm.declared())]
    return "\n".join(lines)


def readmes() -> dict[Path, Mapping[str, Rule]]:
    """The rules of each plugin, as they are on a machine with two GPUs."""
    from training_hub_instructlab import rules as instructlab
    from training_hub_minitrainer import rules as minitrainer
    from training_hub_trl import rules as trl
    from training_hub_unsloth import rules as unsloth

    sources = FrameworkSources()
    of_trl: dict[str, Rule] = {}
    for name in ("lora_sft", "osft", "sft"):
        of_trl |= _in_order(trl.rules(name, PLAN, GPUS, LAUNCH, sources), name)
    of_pairs = _in_order(trl.rules("dpo", PLAN, GPUS, LAUNCH, sources), "dpo")
    of_trl |= {name: rule for name, rule in of_pairs.items() if name not in of_trl}
    return {
        ROOT / "plugins" / plugin / "README.md": rules
        for plugin, rules in {
            "trl": of_trl,
            "instructlab": _in_order(instructlab.rules(GPUS, LAUNCH), "sft"),
            "minitrainer": _in_order(minitrainer.rules(GPUS, LAUNCH), "sft", "osft"),
            "unsloth": _in_order(unsloth.rules(PLAN, GPUS, LAUNCH, sources), "lora_sft"),
        }.items()
    }


def _in_order(rules: Mapping[str, Rule], *algorithms: str) -> dict[str, Rule]:
    """The rules for the parameters of algorithms, as these declare them; trackers' parameters have none."""
    declared = [name for algorithm in algorithms for name in AlgorithmRegistry.get_algorithm(algorithm).declared()]
    return {name: rules[name] for name in declared if name in rules}


def with_table(page: Path, content: str) -> str:
    """A page with another table."""
    before, begun, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    if not begun:
        raise ValueError(f"{page} has no line {BEGIN}")
    return f"{before}{BEGIN}\n\n{content}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    pages = {ROOT / "docs" / "parameters.md": parameters(), STUB: stub(ALGORITHMS)}
    pages[DPO] = with_table(DPO, table(AlgorithmRegistry.get_algorithm("dpo").declared()))
    pages |= {path: with_table(path, reference(rules)) for path, rules in readmes().items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if "--check" in sys.argv:
            print(f"{path.relative_to(ROOT)} is out of date: run `nox -s docs`")  # noqa: T201
        else:
            path.write_text(pages[path], encoding="utf-8")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
