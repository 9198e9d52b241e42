"""Whether a model also sees; asked in processes with Unsloth and without."""

from __future__ import annotations

from training_hub.plugin import Job, load_config


def has_vision(job: Job) -> bool:
    """Whether a job's model also sees."""
    return getattr(load_config(job), "vision_config", None) is not None
