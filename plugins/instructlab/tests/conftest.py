"""A small model, rows, and the backend on a CPU."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[3] / "tests" / "cpu_device")]
from on_cpu import on_cpu

from training_hub.testing.toy import make_model

TEMPLATE = """\
{%- for message in messages -%}
<|{{ message['role'] }}|>{{ message['content'] }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""


@pytest.fixture
def cpu() -> Iterator[None]:
    with on_cpu("instructlab-training"):
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and random weights, with a tokenizer of bytes."""
    from transformers import GenerationConfig

    directory = tmp_path_factory.mktemp("model")
    make_model(directory, template=TEMPLATE, num_hidden_layers=2)
    settings = GenerationConfig.from_pretrained(directory)
    settings.do_sample, settings.top_k = True, 7
    settings.save_pretrained(directory)
    return directory


def conversation(rng: random.Random) -> dict[str, list[dict[str, str]]]:
    """A question and an answer of very different lengths from row to row."""
    number = rng.randint(0, 99)
    answer = f"{number} " * rng.choice([1, 2, 5, 20])
    turns = [("user", f"Say {number}."), ("assistant", answer.strip())]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen conversations."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rng = random.Random(1)
    path.write_text("".join(json.dumps(conversation(rng)) + "\n" for _ in range(16)), encoding="utf-8")
    return path
