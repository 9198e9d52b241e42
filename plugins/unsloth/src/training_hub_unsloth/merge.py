"""Merges an adapter into its base, in a process without Unsloth (`-m training_hub_unsloth.merge JOB ADAPTER TO`)."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from peft import PeftModel
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from training_hub.plugin import Job
from training_hub_trl.models import save_merged


def merge(job: Job, adapter: Path, directory: Path) -> None:
    """Save the base model with the adapter merged in, in the base model's own precision."""
    path, trust = job.parameters["model_path"], job.parameters["trust_remote_code"]
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
    file, adapter, directory = map(Path, sys.argv[1:])
    merge(Job.read(file), adapter, directory)
