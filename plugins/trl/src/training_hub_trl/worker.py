"""Trains one job: in the caller's process, or as one of several under torchrun (`-m training_hub_trl.worker JOB`)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from training_hub.errors import ModelNotFoundError, TrainingFailedError
from training_hub.launchers.local import recorded_failure
from training_hub.runs.directory import RunDirectory, write_json
from training_hub.runs.events import EventLog


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Train, save, and say what came of it.

    Args:
        job: See `training_hub_trl.backend.job`.

    Returns:
        `checkpoint`, `merged_checkpoint`, `metrics`, and the live `model`, `tokenizer` and `trainer`.
    """
    from transformers import AutoTokenizer
    from trl import SFTConfig

    from training_hub_trl.models import load_model, save_merged
    from training_hub_trl.rows import make_splits
    from training_hub_trl.trainer import HubTrainer

    values = job["values"]
    directory = RunDirectory(Path(job["directory"]))
    events = EventLog(directory.events)
    _set_tracker_variables(values)
    arguments = SFTConfig(**job["arguments"]["SFTConfig"])
    loading = job["arguments"]["from_pretrained"]
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            loading["pretrained_model_name_or_path"],
            trust_remote_code=loading["trust_remote_code"],
            revision=loading.get("revision", "main"),
        )
    except OSError as error:
        raise ModelNotFoundError(f"model_path={values['model_path']}: {error}") from error
    rows = make_splits(job, tokenizer, events, arguments)
    model = load_model(job)
    trainer = HubTrainer(model=model, args=arguments, tokenizer=tokenizer, rows=rows, job=job, events=events)
    trainer.train()

    checkpoint = trainer.save_final(directory.final) if _saves_final(values) else trainer.last_checkpoint()
    merged = None
    if values.get("save_merged_model"):
        if checkpoint is None:
            raise TrainingFailedError("save_merged_model needs a saved adapter, and neither save_model nor a step saved one")
        if trainer.is_world_process_zero():
            save_merged(job, checkpoint, directory.merged)
        merged = directory.merged
    return {
        "checkpoint": checkpoint,
        "merged_checkpoint": merged,
        "metrics": trainer.final_metrics(),
        "model": trainer.accelerator.unwrap_model(trainer.model),
        "tokenizer": tokenizer,
        "trainer": trainer,
    }


def _saves_final(values: dict[str, Any]) -> bool:
    return bool(values["save_final_checkpoint"] and values.get("save_model", True))


def _set_tracker_variables(values: dict[str, Any]) -> None:
    """Trackers of transformers take these from the environment alone."""
    variables = {
        "WANDB_PROJECT": "wandb_project",
        "WANDB_ENTITY": "wandb_entity",
        "TENSORBOARD_LOGGING_DIR": "tensorboard_log_dir",
        "MLFLOW_TRACKING_URI": "mlflow_tracking_uri",
        "MLFLOW_EXPERIMENT_NAME": "mlflow_experiment_name",
    }
    os.environ.update({name: str(values[key]) for name, key in variables.items() if values.get(key)})


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    logs = RunDirectory(Path(job["directory"])).logs
    with recorded_failure(logs):
        outcome = train(job)
        trainer = outcome["trainer"]
        if trainer.is_world_process_zero():
            kept = {name: outcome[name] for name in ("checkpoint", "merged_checkpoint", "metrics")}
            write_json(logs / "outcome.json", kept)
        trainer.accelerator.wait_for_everyone()
        trainer.accelerator.end_training()


if __name__ == "__main__":
    main()
