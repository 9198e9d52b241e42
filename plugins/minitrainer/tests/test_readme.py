"""The README's table is what the rules say. `python plugins/minitrainer/tests/test_readme.py` writes it."""

from __future__ import annotations

from pathlib import Path

from training_hub.devices import Devices
from training_hub.registry import AlgorithmRegistry
from training_hub_minitrainer.rules import rules

README = Path(__file__).parents[1] / "README.md"
START, END = "<!-- table: made by tests/test_readme.py -->", "<!-- end of table -->"
NEEDED = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o", "unfreeze_rank_ratio": 0.5}


def table() -> str:
    """A row for each parameter of either algorithm."""
    rows: dict[str, str] = {}
    for algorithm in ("osft", "sft"):
        declared = AlgorithmRegistry.get_algorithm(algorithm).declared()
        given = {name: value for name, value in NEEDED.items() if name in declared}
        table = rules(
            AlgorithmRegistry.get_algorithm(algorithm).resolve(given), Devices("cuda", 1, ("a GPU",), True), 1
        )
        for name in declared:
            rule = table[name]
            argument = f"`{rule.argument.removeprefix('TrainingArgs.')}`" if rule.argument and rule.how != "hub" else ""
            rows.setdefault(name, f"| `{name}` | {argument} | {rule.how} | {rule.note} |")
    head = ["| parameter | of mini-trainer's `TrainingArgs` | how | |", "|---|---|---|---|"]
    return "\n".join([*head, *rows.values()])


def rewritten(text: str) -> str:
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{table()}\n{END}{rest.partition(END)[2]}"


def test_the_table_in_the_readme_is_what_the_rules_say() -> None:
    text = README.read_text(encoding="utf-8")
    assert START in text
    assert rewritten(text) == text, "run `python plugins/minitrainer/tests/test_readme.py`"


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")
