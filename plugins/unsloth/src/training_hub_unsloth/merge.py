"""Merges an adapter into its base model, in a process without Unsloth (`-m training_hub_unsloth.merge REQUEST`)."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from training_hub.store.directory import read_json
from training_hub_trl.models import save_merged


def merge(job: dict[str, Any], adapter: Path, directory: Path) -> None:
    """Save the base model with the adapter merged in, in the base model's own precision."""
    path, trust = job["values"]["model_path"], job["values"]["trust_remote_code"]
    if getattr(AutoConfig.from_pretrained(path, trust_remote_code=trust), "vision_config", None) is None:
        save_merged(job, adapter, directory)
        return
    base = AutoModelForImageTextToText.from_pretrained(
        path, dtype="auto", trust_remote_code=trust, device_map="cpu", use_safetensors=True
    )
    merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
    merged.save_pretrained(directory)
    # The tokenizer with its template, and what makes tensors of images, where the base has that.
    AutoTokenizer.from_pretrained(adapter, trust_remote_code=trust).save_pretrained(directory)
    with suppress(OSError, ValueError):
        AutoProcessor.from_pretrained(path, trust_remote_code=trust).save_pretrained(directory)


if __name__ == "__main__":
    request = read_json(Path(sys.argv[1]))
    merge(request["job"], Path(request["adapter"]), Path(request["directory"]))
