"""Merges an adapter into its base, in a process without Unsloth (`-m training_hub_unsloth.merge JOB ADAPTER TO`)."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from training_hub.plugin import Job
from training_hub_trl.merging import save_merged
from training_hub_trl.models import revision


def merge(job: Job, adapter: Path, directory: Path) -> None:
    """Save the base model with the adapter merged in; see `training_hub_trl.merging.save_merged`."""
    path, trust = job.parameters["model_path"], job.parameters["trust_remote_code"]
    config = AutoConfig.from_pretrained(path, revision=revision(job), trust_remote_code=trust)
    sees = getattr(config, "vision_config", None) is not None
    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    save_merged(job, adapter, directory, kind.from_pretrained)


if __name__ == "__main__":
    file, adapter, directory = map(Path, sys.argv[1:])
    merge(Job.read(file), adapter, directory)
