"""The backend: availability, translation, and the start of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

from training_hub.backends.base import Availability, FrameworkBackend
from training_hub.backends.batches import processes
from training_hub.backends.devices import devices
from training_hub.backends.run import Run
from training_hub.backends.translation import Translation, translate
from training_hub.errors import ResumeError
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan, rendezvous
from training_hub.parameters import Parameters
from training_hub.store.checkpoints import Checkpoint
from training_hub.store.directory import read_json, write_json
from training_hub.store.result import TrainingResult
from training_hub_minitrainer.arguments import TYPES, accepted, further_problems, withheld
from training_hub_minitrainer.layout import cache_directory, framework_directory, state_directory
from training_hub_minitrainer.rules import rules, settings

DISTRIBUTION = "rhai-innovation-mini-trainer"
SUPPORTED = (0, 9)
"""The releases this plugin is written for, by major and minor number."""


class MiniTrainerOSFTBackend(FrameworkBackend):
    """Trains with mini-trainer, in processes of its own: OSFT, and all weights (`sft`)."""

    algorithms: ClassVar[tuple[str, ...]] = ("osft", "sft")
    framework: ClassVar[str | None] = DISTRIBUTION
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save", "set_learning_rate"})
    callbacks_on_ranks: ClassVar[bool] = True

    def availability(self) -> Availability:
        try:
            found = version(DISTRIBUTION)
        except PackageNotFoundError:
            return Availability(
                False, f"{DISTRIBUTION} is missing (Python 3.11 or 3.12): pip install training-hub-minitrainer"
            )
        wanted = ".".join(map(str, SUPPORTED))
        if _release(found) != SUPPORTED:
            return Availability(
                False,
                f"{DISTRIBUTION} {found} is installed, and this plugin supports {wanted}.x: "
                f'pip install "{DISTRIBUTION}~={wanted}.0"',
            )
        here = devices()
        if here.kind != "cuda":
            return Availability(
                False, f"mini-trainer needs an NVIDIA GPU, and there is {here}; backend='trl' needs none"
            )
        if not find_spec("flash_attn") and not _without_flash_attention(os.environ):
            return Availability(
                False, 'flash-attn is missing: pip install "training-hub-minitrainer[cuda]" --no-build-isolation'
            )
        return Availability(True, f"mini-trainer {found} on {here}")

    def translate(self, parameters: Parameters) -> Translation:
        here = devices()
        local = processes(parameters, here)
        plan = LaunchPlan(
            "training_hub_minitrainer.worker",
            local,
            parameters["nnodes"],
            parameters["node_rank"],
            rendezvous(parameters),
            environment=_environment(parameters),
        )
        translation = translate(
            "mini-trainer",
            rules(parameters, here, local),
            parameters,
            settings=settings(parameters),
            accepts=accepted(),
            withheld=withheld(parameters),
            types=TYPES,
            launch=plan,
        )
        return replace(translation, problems=(*translation.problems, *further_problems(parameters)))

    def train(self, run: Run) -> TrainingResult:
        plan = run.translation.launch
        assert plan is not None
        if run.resume_from is not None:
            _check_state(run.resume_from, plan.processes)
        logs = run.directory.logs
        task, outcome = logs / "job.json", logs / "outcome.json"
        write_json(task, run.job())
        # Of a run that was killed while it saved.
        shutil.rmtree(framework_directory(run.parameters) / "hf_format", ignore_errors=True)
        try:
            launch(plan, [str(task)], logs, run.watchdog.check)
        finally:
            shutil.rmtree(cache_directory(run.parameters), ignore_errors=True)
        found = read_json(outcome)
        return TrainingResult(
            checkpoint=Path(found["checkpoint"]) if found["checkpoint"] else None,
            metrics=found["metrics"],
            backend=self.name,
            run_dir=run.directory.path,
        )


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


def _environment(parameters: Parameters) -> dict[str, str]:
    # The framework loads its rows through a cache, which would grow by a copy of every dataset in the user's home.
    return {"HF_DATASETS_CACHE": str(cache_directory(parameters))}


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2] if part.isdigit())


def _without_flash_attention(environment: Mapping[str, str]) -> bool:
    """Whether mini-trainer's own switch makes it do with PyTorch's attention."""
    return environment.get("TESTING", "").lower() == "true"
