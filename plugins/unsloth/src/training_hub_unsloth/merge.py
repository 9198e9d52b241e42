"""Merges an adapter into its base, in a process without Unsloth (`-m training_hub_unsloth.merge JOB ADAPTER TO`)."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from training_hub.plugin import Job
from training_hub_trl.merging import save_merged
from training_hub_unsloth.vision import has_vision


def merge(job: Job, adapter: Path, directory: Path) -> None:
    """Save the base model with the adapter merged in; see `training_hub_trl.merging.save_merged`."""
    kind = AutoModelForImageTextToText if has_vision(job) else AutoModelForCausalLM
    save_merged(job, adapter, directory, kind.from_pretrained)


if __name__ == "__main__":
    file, adapter, directory = map(Path, sys.argv[1:])
    merge(Job.read(file), adapter, directory)
