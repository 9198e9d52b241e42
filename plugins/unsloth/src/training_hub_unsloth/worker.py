"""Trains one job: in its own process, or as one of several under torchrun (`-m training_hub_unsloth.worker JOB`)."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from training_hub.plugin import Job, Outcome, TrainingFailedError, alone, run_worker
from training_hub_trl.worker import train as train_with_trl


def train(job: Job) -> Outcome:
    """Train, save, and say what came of it; see `training_hub_trl.worker.train`."""
    # Before transformers, PEFT and TRL: it changes them as they are imported.
    import unsloth  # noqa: F401

    from training_hub_trl.parts import supervised
    from training_hub_unsloth.model import load_model
    from training_hub_unsloth.trainer import UnslothHubTrainer

    parts = replace(supervised(), load=load_model, trainer=UnslothHubTrainer, merge=merge)
    outcome = train_with_trl(job, parts)
    if outcome.live["trainer"].is_world_process_zero():
        export(job, outcome)
    return outcome


def merge(job: Job, adapter: Path, directory: Path) -> None:
    """Save base and adapter merged, by a process in which transformers and PEFT are as they were published.

    Raises:
        TrainingFailedError: It cannot; the adapter is saved all the same.
    """
    log = job.directory.logs / "merge.log"
    command = [sys.executable, "-m", "training_hub_unsloth.merge", str(job.write()), str(adapter), str(directory)]
    environment = {**alone(os.environ), "CUDA_VISIBLE_DEVICES": ""}
    with log.open("wb") as output:
        code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, env=environment, check=False).returncode
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise TrainingFailedError(
            f"the adapter is in {adapter}, and could not be merged: {lines[-1] if lines else f'exit code {code}'}\n"
            f"log: {log}"
        )


def export(job: Job, outcome: Outcome) -> None:
    """Write the GGUF files that `save_gguf` asks for, in `gguf`.

    Raises:
        TrainingFailedError: Unsloth cannot make them; the adapter is saved all the same.
    """
    wanted = job.arguments.get("export", {}).get("save_gguf")
    if not wanted:
        return
    directory = job.directory.path / "gguf"
    model, tokenizer = outcome.live["model"], outcome.live["tokenizer"]
    further = job.arguments.get("save_pretrained_gguf", {})
    try:
        model.save_pretrained_gguf(str(directory), tokenizer, quantization_method=wanted, **further)
    # llama.cpp is downloaded, built and run for this, so anything may go wrong; the model is trained by now.
    except Exception as error:
        reason = f"save_gguf={wanted!r} failed: {type(error).__name__}: {error}"
        raise TrainingFailedError(f"the adapter is in {outcome.checkpoint}, and {reason}") from error
    outcome.live["trainer"].loop.reporter.saved(outcome.metrics.get("step"), directory)


if __name__ == "__main__":
    run_worker(train)
