"""What a model's loss is by transformers alone: `python -m training_hub.testing.reference JOB OUTCOME`.

A process of its own measures, for a framework may have changed transformers in the process that trained.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

IGNORED = -100

Measured: TypeAlias = dict[str, Any]
"""`loss` in nats a trained token and `template`, or `error`, `template_error`: why a part could not be loaded."""


def measure_apart(base: Path, rows: Path, models: Iterable[Path], directory: Path) -> dict[Path, Measured]:
    """Measure saved models on all rows, in a fresh process.

    Args:
        base: The toy model, whose tokenizer is used for all of them.
        rows: Conversations.
        models: Directories of models or of adapters.
        directory: Where the process' job and outcome go.
    """
    job, outcome = directory / "reference.json", directory / "measured.json"
    asked = list(models)
    job.write_text(json.dumps({"base": str(base), "rows": str(rows), "models": [str(path) for path in asked]}))
    command = [sys.executable, "-m", __name__, str(job), str(outcome)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"the models could not be measured:\n{ended.stderr}")
    found = json.loads(outcome.read_text(encoding="utf-8"))
    return {path: found[str(path)] for path in asked}


def measure(base: Path, rows: Path, models: Iterable[Path]) -> dict[Path, Measured]:
    """Measure saved models on all rows, in this process."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    examples = encoded(rows, tokenizer)
    return {path: _measured(path, examples) for path in models}


def encoded(rows: Path, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels of conversations, written out turn by turn for the toy model's template.

    On purpose without the hub's own way to make tokens, so that one is held against the other.
    """
    return [_encoded(json.loads(line)["messages"], tokenizer) for line in rows.read_text(encoding="utf-8").splitlines()]


def _encoded(messages: Iterable[Mapping[str, str]], tokenizer: Any) -> tuple[list[int], list[int]]:
    input_ids: list[int] = []
    labels: list[int] = []
    for message in messages:
        header = tokenizer(f"<|{message['role']}|>\n", add_special_tokens=False)["input_ids"]
        text = tokenizer(f"{message['content']}<|end|>", add_special_tokens=False)["input_ids"]
        newline = tokenizer("\n", add_special_tokens=False)["input_ids"]
        input_ids += header + text + newline
        trained = text if message["role"] == "assistant" else [IGNORED] * len(text)
        labels += [IGNORED] * len(header) + trained + [IGNORED] * len(newline)
    return input_ids, labels


def _measured(path: Path, examples: list[tuple[list[int], list[int]]]) -> Measured:
    from transformers import AutoTokenizer

    found: Measured = {}
    try:
        found["template"] = AutoTokenizer.from_pretrained(path).chat_template
    except Exception as error:
        found["template_error"] = f"{type(error).__name__}: {error}"
    try:
        found["loss"] = _loss(_model(path), examples)
    except Exception as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def _model(path: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    # Of an adapter's directory it loads the base and puts the adapter on it.
    load: Any = AutoModelForCausalLM.from_pretrained
    # Weights that the files lack would otherwise be drawn at random, with no more than a warning.
    model, report = load(path, dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"weights are missing: {', '.join(sorted(report['missing_keys'])[:5])}")
    return model


def _loss(model: Any, examples: list[tuple[list[int], list[int]]]) -> float:
    """Mean loss in nats over the trained tokens of all rows, one row at a time."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad():
        for input_ids, labels in examples:
            logits = model.eval()(torch.tensor([input_ids])).logits[0, :-1].float()
            targets = torch.tensor(labels[1:])
            total += torch.nn.functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum").item()
            count += int((targets != IGNORED).sum())
    return total / count


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = measure(Path(job["base"]), Path(job["rows"]), [Path(path) for path in job["models"]])
    Path(sys.argv[2]).write_text(json.dumps({str(path): entry for path, entry in found.items()}), encoding="utf-8")


if __name__ == "__main__":
    main()
