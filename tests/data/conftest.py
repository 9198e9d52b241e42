"""Small tokenizers and dataset files, made by the tests themselves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SPECIAL = (
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "[INST]",
    "[/INST]",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|User|>",
    "<|Assistant|>",
    "<think>",
    "</think>",
    "<|start|>",
    "<|message|>",
    "<|channel|>",
    "<|return|>",
    "<|call|>",
)
LINES = ["the quick brown fox answers a short question", "what is the answer to the question", "user assistant system"]


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """A byte-level BPE tokenizer of a few hundred tokens, with the chat template given."""

    def make(template: str | None = None, *, lines: list[str] = LINES, trim: bool = False, **special: Any) -> Any:
        transformers = pytest.importorskip("transformers")
        tokenizers = pytest.importorskip("tokenizers")
        inner = tokenizers.Tokenizer(tokenizers.models.BPE())
        inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = tokenizers.decoders.ByteLevel()
        inner.post_processor = tokenizers.processors.ByteLevel(trim_offsets=trim)
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=500, initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
        )
        inner.train_from_iterator(lines, trainer)
        inner.add_special_tokens(
            [tokenizers.AddedToken(text, normalized=False, special=True, **special) for text in SPECIAL]
        )
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", bos_token="<s>")
        tokenizer.chat_template = template
        return tokenizer

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes rows as JSON lines, or a text as it is, and gives the path."""

    def write_file(content: list[Any] | str, name: str = "data.jsonl") -> Path:
        path = tmp_path / name
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file
