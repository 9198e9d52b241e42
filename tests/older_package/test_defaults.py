"""docs/migration.md has defaults as they were and as they are, and values to paste that are accepted."""

import ast
import re
from pathlib import Path

import pytest

from training_hub import AlgorithmRegistry, create_algorithm

PAGE = (Path(__file__).parents[2] / "docs" / "migration.md").read_text(encoding="utf-8")
ALGORITHMS = ("sft", "osft", "lora_sft")


def section(algorithm):
    """Rows of the table of defaults, and the keywords of the block to paste."""
    text = PAGE.partition(f"\n### `{algorithm}`\n")[2].partition("\n## ")[0].partition("\n### ")[0]
    rows = {
        name: (then, now) for name, then, now in re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.+) \|$", text, re.MULTILINE)
    }
    block = re.search(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    call = ast.parse(block).body[-1].value
    assert call.func.id == algorithm
    return rows, {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


def value(cell):
    """What a cell of the table says: a value, or words."""
    return ast.literal_eval(cell[1:-1]) if re.fullmatch(r"`[^`]+`", cell) and cell != "`max_seq_len`" else cell


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_page_has_our_defaults(algorithm):
    declared = AlgorithmRegistry.get_algorithm(algorithm).declared()
    rows, _ = section(algorithm)
    for name, (_, now) in rows.items():
        if now == "where the device can":
            assert declared[name].default is None
        else:
            assert str(value(now)) == str(declared[name].default).strip("<>"), name


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_values_to_paste_are_those_of_the_table_and_hold(algorithm):
    rows, pasted = section(algorithm)
    pasted.pop("ckpt_output_dir", None)
    assert pasted == {name: value(then) for name, (then, _) in rows.items() if name in pasted}
    # What is a value by itself is pasted, but for what the device decides.
    assert {name for name, (then, _) in rows.items() if isinstance(value(then), int | float)} - {
        "bf16"
    } <= pasted.keys()
    created = create_algorithm(algorithm, "trl")
    given = {"model_path": "m", "data_path": "d", "ckpt_output_dir": "o", **pasted}
    given |= {"unfreeze_rank_ratio": 0.25} if algorithm == "osft" else {}
    created.backend.translate(created.resolve(given, backend=type(created.backend))).raise_for_refusals()


def test_the_page_has_every_default_of_the_older_lora_that_differs(older):
    then = older.looked_up("algorithms.lora", "UnslothLoRABackend")
    declared = AlgorithmRegistry.get_algorithm("lora_sft").declared()
    rows, _ = section("lora_sft")
    # These two have a line of their own in words.
    differing = {
        name: default
        for name, default in then.items()
        if name in declared and declared[name].default != default and name not in ("seed", "eval_steps", "dataset_type")
    }
    same = {"field_messages", "field_instruction", "field_input", "field_output", "nproc_per_node", "fp16"}
    assert {name: value(rows[name][0]) for name in differing.keys() - same} == {
        name: default for name, default in differing.items() if name not in same
    }
    assert {"lr_scheduler", "warmup_steps", "max_grad_norm", "weight_decay", "sample_packing"} <= differing.keys()
