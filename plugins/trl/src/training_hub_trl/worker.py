"""Trains one job: in the caller's process, or as one of several under torchrun (`-m training_hub_trl.worker JOB`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from training_hub.errors import ModelNotFoundError
from training_hub.store.directory import RunDirectory, read_json, write_json
from training_hub.worker.callbacks import RankCallbacks
from training_hub.worker.failure import recorded_failure

if TYPE_CHECKING:
    from training_hub_trl.trainer import HubTrainer


Job: TypeAlias = dict[str, Any]


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the bars of transformers, which would be drawn over the hub's own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@_no_bars()
def train(
    job: Job,
    *,
    load: Callable[[Job], Any] | None = None,
    trainer_class: type[HubTrainer] | None = None,
    merge: Callable[[Job, Path, Path], None] | None = None,
) -> dict[str, Any]:
    """Train, save, and say what came of it.

    A framework that trains through TRL gives its own parts; each is TRL's and PEFT's own by default.

    Args:
        job: See `training_hub.execution.session.Run.job`.
        load: Loads the model, with the adapter that is trained.
        trainer_class: The trainer.
        merge: Saves base and adapter merged: called with the job, the adapter's directory and the one to write.

    Returns:
        `checkpoint`, `merged_checkpoint`, `metrics`, and the live `model`, `tokenizer` and `trainer`.
    """
    from transformers import AutoTokenizer
    from trl import SFTConfig

    from training_hub_trl.memory import keep_freed_memory
    from training_hub_trl.models import construct, load_model, one_gpu, save_merged
    from training_hub_trl.rows import make_splits
    from training_hub_trl.trainer import HubTrainer

    load, trainer_class, merge = load or load_model, trainer_class or HubTrainer, merge or save_merged
    values = job["values"]
    directory = RunDirectory(Path(job["directory"]))
    ranks = RankCallbacks(job["on_all_ranks"], directory)
    arguments = construct(SFTConfig, job["arguments"]["SFTConfig"])
    one_gpu(arguments)
    if arguments.device.type == "cpu":
        keep_freed_memory()
    revision = job["arguments"]["from_pretrained"].get("revision") or "main"
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            values["model_path"], trust_remote_code=values["trust_remote_code"], revision=revision
        )
    except OSError as error:
        raise ModelNotFoundError(f"model_path={values['model_path']}: {error}") from error
    rows = make_splits(job, tokenizer, ranks.events, arguments)
    model = load(job)
    trainer = trainer_class(model=model, args=arguments, tokenizer=tokenizer, rows=rows, job=job, ranks=ranks)
    trainer.train(resume_from_checkpoint=job["resume"])

    ended = not trainer.stopped
    checkpoint = trainer.save_final(directory.final) if ended and _saves_final(values) else trainer.last_checkpoint()
    merged = None
    if values.get("save_merged_model") and ended:
        assert checkpoint is not None
        if trainer.is_world_process_zero():
            merge(job, checkpoint, directory.merged)
        merged = directory.merged
    metrics = trainer.final_metrics()
    ranks.end(metrics)
    return {
        "checkpoint": checkpoint,
        "merged_checkpoint": merged,
        "metrics": metrics,
        "model": trainer.accelerator.unwrap_model(trainer.model),
        "tokenizer": tokenizer,
        "trainer": trainer,
    }


def _saves_final(values: dict[str, Any]) -> bool:
    return bool(values["save_final_checkpoint"] and values.get("save_model", True))


def main(train: Callable[[Job], dict[str, Any]] = train) -> None:
    """Carry out the job whose file the command line names."""
    job = read_json(Path(sys.argv[1]))
    logs = RunDirectory(Path(job["directory"])).logs
    with recorded_failure(logs):
        outcome = train(job)
        trainer = outcome["trainer"]
        if trainer.is_world_process_zero():
            kept = {name: outcome[name] for name in ("checkpoint", "merged_checkpoint", "metrics")}
            write_json(logs / "outcome.json", kept)
        trainer.accelerator.wait_for_everyone()
        trainer.accelerator.end_training()
    # All is written. A process that takes PyTorch apart may be aborted by one of its threads (seen once: 2.13, gloo).
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
