"""The backend: availability, translation, and the start of a run."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from training_hub.backends.base import Availability, FrameworkBackend
from training_hub.backends.batches import plan_batches, processes
from training_hub.backends.devices import devices
from training_hub.backends.run import Run
from training_hub.backends.translation import Translation, translate
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan, rendezvous
from training_hub.parameters import Parameters
from training_hub.store.directory import read_json, write_json
from training_hub.store.result import TrainingResult
from training_hub_trl.arguments import types, withheld
from training_hub_trl.installation import unmet
from training_hub_trl.rules import rules, settings


class TRLBackend(FrameworkBackend):
    """Trains with TRL's SFTTrainer: all weights, adapters (PEFT) and OSFT."""

    algorithms: ClassVar[tuple[str, ...]] = ("sft", "osft", "lora_sft")
    framework: ClassVar[str | None] = "trl"
    controls: ClassVar[frozenset[str]] = frozenset({"stop", "save", "set_learning_rate"})
    callbacks_on_ranks: ClassVar[bool] = True

    def availability(self) -> Availability:
        missing = [name for name in ("torch", "transformers", "trl", "peft", "datasets") if find_spec(name) is None]
        if missing:
            return Availability(False, f"{', '.join(missing)} is missing: pip install training-hub-trl")
        if unfit := unmet("training-hub-trl"):
            return Availability(False, f"{'; '.join(unfit)}: pip install training-hub-trl")
        return Availability(True, f"on {devices()}")

    def translate(self, parameters: Parameters) -> Translation:
        here = devices()
        known = types(parameters.algorithm)
        local = processes(parameters, here)
        world_size = local * parameters["nnodes"]
        plan = plan_batches(parameters, world_size)
        started = (
            LaunchPlan(
                "training_hub_trl.worker", local, parameters["nnodes"], parameters["node_rank"], rendezvous(parameters)
            )
            if world_size > 1
            else None
        )
        return translate(
            "trl",
            rules(parameters.algorithm, plan, here),
            parameters,
            settings=settings(parameters, plan, here),
            accepts=known,
            withheld=withheld(here),
            types=ChainMap(*known.values()),
            batches=plan,
            launch=started,
        )

    def train(self, run: Run) -> TrainingResult:
        from training_hub_trl.worker import train

        return carry_out(run, train)


def carry_out(run: Run, train: Callable[[dict[str, Any]], dict[str, Any]]) -> TrainingResult:
    """Carry a run out: by `train` in this process, or in the processes that its translation asks for."""
    if run.translation.launch is None:
        outcome = train(run.job())
    else:
        path = run.directory.logs / "job.json"
        write_json(path, run.job())
        launch(run.translation.launch, [str(path)], run.directory.logs, run.watchdog.check)
        outcome = _outcome(run.directory.logs / "outcome.json")
    return TrainingResult(
        checkpoint=Path(outcome["checkpoint"]) if outcome["checkpoint"] else None,
        merged_checkpoint=Path(outcome["merged_checkpoint"]) if outcome["merged_checkpoint"] else None,
        metrics=outcome["metrics"],
        backend=run.backend,
        run_dir=run.directory.path,
        model=outcome.get("model"),
        tokenizer=outcome.get("tokenizer"),
        trainer=outcome.get("trainer"),
    )


def _outcome(path: Path) -> dict[str, Any]:
    """What the first process wrote; on a further node there is none."""
    if not path.exists():
        return {"checkpoint": None, "merged_checkpoint": None, "metrics": {}}
    outcome: dict[str, Any] = read_json(path)
    return outcome
