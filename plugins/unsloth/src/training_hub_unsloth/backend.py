"""The backend: availability, translation, and the start of a run."""

from __future__ import annotations

import sys
from collections import ChainMap
from dataclasses import replace
from typing import ClassVar

from training_hub.backends.base import Availability, FrameworkBackend
from training_hub.backends.batches import plan_batches, processes
from training_hub.backends.devices import devices
from training_hub.backends.run import Run
from training_hub.backends.translation import Translation, translate
from training_hub.launchers.plan import LaunchPlan, rendezvous
from training_hub.parameters import Parameters
from training_hub.store.result import TrainingResult
from training_hub_trl.arguments import types
from training_hub_trl.backend import TRLBackend, carry_out
from training_hub_unsloth.arguments import accepted, unknown_gguf, withheld
from training_hub_unsloth.installation import obstacle
from training_hub_unsloth.rules import rules, settings


class UnslothLoRABackend(FrameworkBackend):
    """Trains adapters with Unsloth.

    Unsloth changes transformers, PEFT and TRL for the whole process that imports it, so a run has processes of its own;
    only where the caller has imported Unsloth already, and asks for one process, is it trained there.
    """

    algorithms: ClassVar[tuple[str, ...]] = ("lora_sft",)
    framework: ClassVar[str | None] = "unsloth"
    controls: ClassVar[frozenset[str]] = TRLBackend.controls
    callbacks_on_ranks: ClassVar[bool] = True

    def availability(self) -> Availability:
        here = devices()
        reason = obstacle(here)
        return Availability(False, reason) if reason else Availability(True, f"on {here}")

    def translate(self, parameters: Parameters) -> Translation:
        here = devices()
        local = processes(parameters, here)
        world_size = local * parameters["nnodes"]
        plan = plan_batches(parameters, world_size)
        several = world_size > 1
        started = LaunchPlan(
            "training_hub_unsloth.worker",
            local,
            parameters["nnodes"],
            parameters["node_rank"],
            rendezvous(parameters) if several else {},
            torchrun=several,
        )
        launch = None if not several and in_this_process() else started
        translation = translate(
            "unsloth",
            rules(plan, here, launched=launch is not None),
            parameters,
            settings=settings(parameters, plan, here),
            accepts=accepted(),
            withheld=withheld(parameters, here),
            types=ChainMap(*types(parameters.algorithm).values()),
            launch=launch,
            batches=plan,
        )
        return replace(translation, problems=(*translation.problems, *unknown_gguf(parameters)))

    def train(self, run: Run) -> TrainingResult:
        from training_hub_unsloth.worker import train

        return carry_out(run, train)


def in_this_process() -> bool:
    """Whether the caller has imported Unsloth, early enough for TRL's trainer to be Unsloth's everywhere."""
    if "unsloth" not in sys.modules:
        return False
    trainer, trl = sys.modules.get("training_hub_trl.trainer"), sys.modules.get("trl")
    return trainer is None or trl is None or issubclass(trainer.HubTrainer, trl.SFTTrainer)
