"""The parts that a way of learning trains with, in a process that trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import TrainingArguments
from trl import SFTConfig

from training_hub.plugin import EventLog, Job
from training_hub_trl.construct import construct
from training_hub_trl.hub_trainer import HubTrainer
from training_hub_trl.merging import save_merged
from training_hub_trl.models import load_model
from training_hub_trl.rows import make_splits
from training_hub_trl.sft_trainer import HubSFTTrainer
from training_hub_trl.splits import Splits


@dataclass(frozen=True)
class Parts:
    """What differs between ways of learning, and between frameworks that train through TRL."""

    arguments: Callable[[Job], TrainingArguments]
    """Makes the trainer's arguments."""
    splits: Callable[[Job, Any, EventLog, Any], Splits]
    """Makes the rows, of the job, the tokenizer, the event log for warnings, and the trainer's arguments."""
    load: Callable[[Job], Any]
    """Loads the model, with the adapter that is trained."""
    trainer: type[HubTrainer]
    merge: Callable[[Job, Path, Path], None]
    """Saves base and adapter merged, of the job, the adapter's directory and the one to write."""


def of(job: Job) -> Parts:
    """TRL's and PEFT's own, for the algorithm of a job."""
    return preference() if job.algorithm == "dpo" else supervised()


def supervised() -> Parts:
    """Supervised fine-tuning by TRL and PEFT."""
    return Parts(
        arguments=lambda job: construct(SFTConfig, job.arguments["SFTConfig"]),
        splits=make_splits,
        load=load_model,
        trainer=HubSFTTrainer,
        merge=save_merged,
    )


def preference() -> Parts:
    """Learning from preference pairs by TRL and PEFT."""
    from training_hub_trl.dpo.arguments import arguments
    from training_hub_trl.dpo.splits import make_splits
    from training_hub_trl.dpo.trainer import HubDPOTrainer

    return Parts(arguments, make_splits, load_model, HubDPOTrainer, save_merged)
