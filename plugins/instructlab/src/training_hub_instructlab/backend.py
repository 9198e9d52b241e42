"""The backend: availability, translation, and the start of a run."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from training_hub.backends.base import Availability, FrameworkBackend
from training_hub.backends.batches import processes
from training_hub.backends.devices import devices
from training_hub.backends.run import Run
from training_hub.backends.translation import Translation, translate
from training_hub.errors import ResumeError
from training_hub.launchers.local import launch, run_first
from training_hub.launchers.plan import LaunchPlan, rendezvous
from training_hub.parameters import Parameters
from training_hub.store.checkpoints import Checkpoint
from training_hub.store.directory import data_directory, read_json, write_json
from training_hub.store.result import TrainingResult
from training_hub_instructlab.arguments import TYPES, WITHHELD, accepted, further_problems
from training_hub_instructlab.rules import rules, settings

SUPPORTED = ((0, 16), (0, 17))
"""Releases of instructlab-training that this plugin was written for: from the first, below the second."""


class InstructLabTrainingSFTBackend(FrameworkBackend):
    """Trains all weights with instructlab-training, sharded over NVIDIA GPUs."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft",)
    framework: ClassVar[str | None] = "instructlab-training"
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save", "set_learning_rate"})
    callbacks_on_ranks: ClassVar[bool] = True

    def availability(self) -> Availability:
        if problem := framework_problem():
            return Availability(False, problem)
        here = devices()
        if here.kind != "cuda":
            needs = f"instructlab-training needs an NVIDIA GPU, and there is {here}"
            return Availability(False, f"{needs}; backend 'trl' needs none")
        return Availability(True, f"on {here}")

    def translate(self, parameters: Parameters) -> Translation:
        here = devices()
        local = processes(parameters, here)
        plan = LaunchPlan(
            "training_hub_instructlab.worker",
            local,
            parameters["nnodes"],
            parameters["node_rank"],
            rendezvous(parameters),
            environment=_environment(parameters),
        )
        found = translate(
            self.name,
            rules(here, local),
            parameters,
            settings=settings(parameters, here, local),
            accepts=accepted(),
            withheld=WITHHELD,
            types=TYPES,
            launch=plan,
        )
        return replace(found, problems=(*found.problems, *further_problems(parameters)))

    def train(self, run: Run) -> TrainingResult:
        plan = run.translation.launch
        assert plan is not None
        directory, logs = run.directory, run.directory.logs
        working = Path(run.translation.arguments["TrainingArgs"]["ckpt_output_dir"])
        _lay_out(working, run.resume_from)
        path = logs / "job.json"
        write_json(path, run.job())
        try:
            run_first(plan, "training_hub_instructlab.rows", [str(path)], logs)
            launch(plan, [str(path)], logs, run.watchdog.check)
        finally:
            _clear(working)
            shutil.rmtree(plan.environment["HF_DATASETS_CACHE"], ignore_errors=True)
        outcome = _outcome(logs / "outcome.json")
        return TrainingResult(
            checkpoint=Path(outcome["checkpoint"]) if outcome.get("checkpoint") else None,
            metrics=outcome.get("metrics", {}),
            backend=self.name,
            run_dir=directory.path,
        )


def framework_problem() -> str | None:
    """Why instructlab-training cannot be used, whatever the machine; told from metadata alone."""
    install = "pip install training-hub-instructlab"
    try:
        found = version("instructlab-training")
    except PackageNotFoundError:
        return f"instructlab-training is missing: {install}"
    release = tuple(int(number) for number in re.findall(r"\d+", found)[:2])
    if not SUPPORTED[0] <= release < SUPPORTED[1]:
        wanted = " and ".join(f"{sign}{a}.{b}" for sign, (a, b) in zip((">=", "<"), SUPPORTED, strict=True))
        return f"instructlab-training {found} is installed, and this plugin was written for {wanted}: {install}"
    missing = [name for name in ("torch", "transformers", "datasets", "accelerate") if find_spec(name) is None]
    return f"{', '.join(missing)} is missing: {install}" if missing else None


def _environment(parameters: Parameters) -> dict[str, str]:
    return {
        # The framework asks this variable too, where its argument says no.
        "TRUST_REMOTE_CODE": str(int(parameters["trust_remote_code"])),
        # It loads its rows through a cache, which would otherwise grow by a copy of every dataset in the user's home.
        "HF_DATASETS_CACHE": str(data_directory(parameters) / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
    }


def _lay_out(working: Path, resumed: Checkpoint | None) -> None:
    """Make the framework's directory ready, with the full state to go on from where it looks for it by itself.

    Raises:
        ResumeError: The checkpoint has none; another backend saved it.
    """
    _clear(working)
    working.mkdir(parents=True, exist_ok=True)
    if resumed is None:
        return
    state = resumed.path / "full_state"
    if not state.is_dir():
        raise ResumeError(f"resume: {resumed.path} has no full_state: it was not saved by instructlab-training")
    (working / "full_state").mkdir()
    # The framework takes the highest number; an epoch of this run never has this one, and so never writes there.
    (working / "full_state" / "epoch_-1").symlink_to(state.resolve(), target_is_directory=True)


def _clear(working: Path) -> None:
    """Remove what the framework had not finished writing."""
    for left in ("hf_format", "full_state"):
        shutil.rmtree(working / left, ignore_errors=True)


def _outcome(path: Path) -> dict[str, Any]:
    # Only the node of rank 0 has one.
    if not path.exists():
        return {}
    found: dict[str, Any] = read_json(path)
    return found
