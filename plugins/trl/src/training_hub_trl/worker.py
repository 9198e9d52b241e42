"""Trains one job: in the caller's process, or as one of several under torchrun (`-m training_hub_trl.worker JOB`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from training_hub.plugin import Job, Outcome, TrainingHubError, check_weights, load_tokenizer, run_worker

if TYPE_CHECKING:
    from training_hub_trl.parts import Parts


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
def train(job: Job, parts: Parts | None = None) -> Outcome:
    """Train, save, and say what came of it.

    Args:
        job: What to train.
        parts: What to train it with; by default TRL's and PEFT's own.

    Returns:
        The outcome, with the live `model`, `tokenizer` and `trainer`.
    """
    from training_hub_trl.memory import keep_freed_memory
    from training_hub_trl.merging import note_answer
    from training_hub_trl.models import one_gpu
    from training_hub_trl.parts import of
    from training_hub_trl.trainer_loop import TrainerLoop

    parts = parts or of(job)
    values = job.parameters
    loop = TrainerLoop(job)
    arguments = parts.arguments(job)
    one_gpu(arguments)
    if arguments.device.type == "cpu":
        keep_freed_memory()
    check_weights(job)
    tokenizer = load_tokenizer(job)
    rows = parts.splits(job, tokenizer, loop.callbacks.events, arguments)
    trainer = parts.trainer(model=parts.load(job), args=arguments, tokenizer=tokenizer, rows=rows, loop=loop)
    try:
        trainer.train(resume_from_checkpoint=str(job.resume_from.path) if job.resume_from else None)
    except TrainingHubError:
        raise
    except Exception:
        trainer.keep_weights()
        raise

    ended = not loop.stopped
    if ended and _saves_final(values):
        checkpoint: Path | None = trainer.save_final()
    else:
        last = loop.keeper.last()
        checkpoint = last.path if last else None
    merged = None
    if values.get("save_merged_model") and ended:
        assert checkpoint is not None
        merged = job.directory.merged
        if trainer.is_world_process_zero():
            note_answer(trainer.accelerator.unwrap_model(trainer.model), tokenizer, job)
            parts.merge(job, checkpoint, merged)
    metrics = loop.reporter.final()
    loop.callbacks.end(metrics)
    live = {
        "model": trainer.accelerator.unwrap_model(trainer.model),
        "tokenizer": tokenizer,
        "trainer": trainer,
    }
    return Outcome(checkpoint, metrics, merged, live)


def _saves_final(values: Mapping[str, Any]) -> bool:
    return bool(values["save_final_checkpoint"] and values.get("save_model", True))


if __name__ == "__main__":
    run_worker(train)
