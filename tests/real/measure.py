"""What transformers alone makes of models: `python measure.py BASE HELD_OUT.jsonl OUTCOME.json MODEL...`.

The loss is the mean over the tokens of the answers, in nats; the answers are the likeliest ones, token by token.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TOKENS = 40
ASKED = 3


def labels_of(messages: list[dict[str, str]], tokenizer: Any) -> tuple[list[int], list[int]]:
    """Tokens of a conversation, and those of the answers: what each render has beyond the prompt of the one before."""
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    labels = [-100] * len(ids)
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        start = len(tokenizer.apply_chat_template(messages[:number], add_generation_prompt=True, return_dict=False))
        stop = len(tokenizer.apply_chat_template(messages[: number + 1], return_dict=False))
        end = start + ids[start:stop].index(tokenizer.eos_token_id) + 1
        labels[start:end] = ids[start:end]
    return ids, labels


@torch.no_grad()
def measure(path: str, rows: list[list[dict[str, str]]], tokenizer: Any) -> dict[str, Any]:
    """Loss on all rows, and the answers to the first questions of some."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    total, count = 0.0, 0
    for messages in rows:
        ids, labels = labels_of(messages, tokenizer)
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        wanted = torch.tensor(labels[1:])
        total += torch.nn.functional.cross_entropy(logits, wanted, reduction="sum").item()
        count += int((wanted != -100).sum())
    answers = []
    for messages in rows[:ASKED]:
        question = messages[: next(n for n, message in enumerate(messages) if message["role"] == "assistant")]
        ids = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_dict=False)
        made = model.generate(torch.tensor([ids]), max_new_tokens=TOKENS, do_sample=False)[0, len(ids) :]
        answers.append(tokenizer.decode(made, skip_special_tokens=True).strip())
    return {"loss": total / count, "answers": answers}


def main() -> None:
    base, rows_path, outcome, *models = sys.argv[1:]
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(base)
    rows = [json.loads(line)["messages"] for line in Path(rows_path).read_text(encoding="utf-8").splitlines()]
    found = {path: measure(path, rows, tokenizer) for path in models}
    Path(outcome).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
