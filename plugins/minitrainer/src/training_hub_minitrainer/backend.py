"""The backend: what it needs of the machine, its translation, and what a run is checked for and leaves behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from typing import ClassVar

from training_hub.plugin import (
    Checkpoint,
    Devices,
    FrameworkSources,
    Job,
    LaunchPlan,
    Parameters,
    ResumeError,
    Run,
    TorchrunBackend,
    Translation,
    translate,
)
from training_hub_minitrainer.arguments import TYPES, accepted, problems, withheld
from training_hub_minitrainer.layout import cache_directory, framework_directory, state_directory
from training_hub_minitrainer.rules import rules, settings


class MiniTrainerOSFTBackend(TorchrunBackend):
    """Trains with mini-trainer, in processes of its own: OSFT, and all weights (`sft`)."""

    algorithms: ClassVar[tuple[str, ...]] = ("osft", "sft")
    framework: ClassVar[str | None] = "rhai-innovation-mini-trainer"
    package: ClassVar[str] = "training-hub-minitrainer"
    worker: ClassVar[str] = "training_hub_minitrainer.worker"

    def device_problem(self, here: Devices) -> str | None:
        # mini-trainer's own switch makes it do with PyTorch's attention.
        switched = os.environ.get("TESTING", "").lower() == "true"
        if here.kind == "cuda" and not switched and not find_spec("flash_attn"):
            return 'flash-attn is missing: pip install "training-hub-minitrainer[cuda]" --no-build-isolation'
        return super().device_problem(here)

    def environment(self, parameters: Parameters) -> Mapping[str, str]:
        # The framework's cache of rows would otherwise grow by a copy of every dataset in the user's home.
        return {"HF_DATASETS_CACHE": str(cache_directory(parameters))}

    def translated(self, parameters: Parameters, here: Devices, plan: LaunchPlan) -> Translation:
        sources = FrameworkSources()
        return translate(
            self.name,
            rules(here, plan),
            parameters,
            settings=settings(parameters),
            accepts=accepted(sources),
            withheld=withheld(parameters),
            types=TYPES,
            unread=sources.unread,
            problems=problems(parameters),
            launch=plan,
        )

    def before(self, run: Run, job: Job) -> None:
        assert run.translation.launch is not None
        if job.resume_from is not None:
            _check_state(job.resume_from, run.translation.launch.processes)
        # Of a run that was killed while it saved.
        shutil.rmtree(framework_directory(job.parameters) / "hf_format", ignore_errors=True)

    def after(self, run: Run, job: Job) -> None:
        shutil.rmtree(cache_directory(job.parameters), ignore_errors=True)


def _check_state(checkpoint: Checkpoint, processes: int) -> None:
    """Refuse a checkpoint that the framework cannot go on from.

    Raises:
        ResumeError: It is one.
    """
    if not (state_directory(checkpoint.path, checkpoint.step) / "training_state.pt").is_file():
        raise ResumeError(f"resume: {checkpoint.path} holds no state of mini-trainer's; resume a run of this backend")
    wrote = checkpoint.facts.get("world_size")
    if wrote != processes:
        raise ResumeError(
            f"resume: {checkpoint.path} was saved by {wrote} processes, each with its own part of the state, and "
            f"{processes} are to go on from it; give nproc_per_node={wrote}"
        )
