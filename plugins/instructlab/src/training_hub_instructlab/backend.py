"""The backend: its translation, and what is laid out for a run and cleared away."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from training_hub.plugin import (
    Devices,
    FrameworkSources,
    Job,
    LaunchPlan,
    Parameters,
    ResumeError,
    Run,
    TorchrunBackend,
    Translation,
    data_directory,
    run_first,
    translate,
)
from training_hub_instructlab.arguments import WITHHELD, accepted, problems, types
from training_hub_instructlab.rules import rules, settings

CACHE = "cache"
"""In the directory of processed rows: where the framework loads them through."""


class InstructLabTrainingSFTBackend(TorchrunBackend):
    """Trains all weights with instructlab-training, sharded over NVIDIA GPUs."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft",)
    framework: ClassVar[str | None] = "instructlab-training"
    package: ClassVar[str] = "training-hub-instructlab"
    worker: ClassVar[str] = "training_hub_instructlab.worker"

    def environment(self, parameters: Parameters) -> Mapping[str, str]:
        return {
            # The framework asks this variable too, where its argument says no.
            "TRUST_REMOTE_CODE": str(int(parameters["trust_remote_code"])),
            # Its cache of rows would otherwise grow by a copy of every dataset in the user's home.
            "HF_DATASETS_CACHE": str(data_directory(parameters) / CACHE),
            "TOKENIZERS_PARALLELISM": "false",
        }

    def translated(self, parameters: Parameters, here: Devices, plan: LaunchPlan) -> Translation:
        sources = FrameworkSources()
        return translate(
            self.name,
            rules(here, plan),
            parameters,
            settings=settings(parameters, here, plan),
            accepts=accepted(sources),
            withheld=WITHHELD,
            types=types(sources),
            unread=sources.unread,
            problems=problems(parameters, sources),
            launch=plan,
        )

    def before(self, run: Run, job: Job) -> None:
        """Lay the full state to go on from where the framework looks for it by itself, and make the rows.

        Raises:
            ResumeError: The checkpoint has none; another backend saved it.
        """
        working = _cleared(job)
        working.mkdir(parents=True, exist_ok=True)
        if job.resume_from:
            state = job.resume_from.path / "full_state"
            if not state.is_dir():
                raise ResumeError(f"resume: {state.parent} has no full_state: it was not saved by instructlab-training")
            # The framework takes the highest number; an epoch of this run never has this one, nor writes there.
            (working / "full_state").mkdir()
            (working / "full_state" / "epoch_-1").symlink_to(state.resolve(), target_is_directory=True)
        assert run.translation.launch is not None
        run_first(run.translation.launch, "training_hub_instructlab.rows", [str(job.write())], run.directory.logs)

    def after(self, run: Run, job: Job) -> None:
        _cleared(job)
        shutil.rmtree(job.data_directory / CACHE, ignore_errors=True)


def _cleared(job: Job) -> Path:
    """Where the framework writes, without what it had not finished."""
    working = Path(job.arguments["TrainingArgs"]["ckpt_output_dir"])
    for left in ("hf_format", "full_state"):
        shutil.rmtree(working / left, ignore_errors=True)
    return working
