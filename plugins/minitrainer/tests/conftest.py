"""A toy model and rows, and the backend on a CPU."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

sys.path.insert(0, str(Path(__file__).parent))
from minitrainer_runs import backend_on_cpu

from training_hub.testing.toy import make_model

TEMPLATE = """\
{%- for message in messages -%}
<|{{ message['role'] }}|>{{ message['content'] }}<|end|>
{%- endfor -%}
{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}
"""


@pytest.fixture
def cpu() -> Iterator[None]:
    with backend_on_cpu():
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers and random weights, with a tokenizer of bytes.

    Its path has "opt" in it, by which mini-trainer itself would take it for an OPT.
    """
    directory = tmp_path_factory.mktemp("opt") / "llama"
    make_model(directory, template=TEMPLATE, num_hidden_layers=2, eos_token_id=[1, 4])
    settings = GenerationConfig.from_pretrained(directory)
    settings.do_sample, settings.top_k = True, 7
    settings.save_pretrained(directory)
    return directory


def conversation(number: int) -> dict[str, list[dict[str, str]]]:
    """A question and an answer of very different lengths from row to row."""
    answer = f"{number * 6} " * (1, 5, 12, 20)[number % 4]
    turns = [("user", f"Say {number * 6}."), ("assistant", answer.strip())]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen conversations."""
    return write(tmp_path_factory.mktemp("rows") / "rows.jsonl", [conversation(number) for number in range(16)])


@pytest.fixture
def job(model: Path, rows: Path, tmp_path: Path) -> dict[str, Any]:
    """The parameters of a short run; a test adds its own."""
    return {
        "model_path": model,
        "data_path": rows,
        "ckpt_output_dir": tmp_path / "out",
        "backend": "mini-trainer",
        "num_epochs": 2,
        "effective_batch_size": 8,
        "learning_rate": 1e-3,
        "max_seq_len": 128,
    }
