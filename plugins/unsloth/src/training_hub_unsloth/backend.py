"""The backend: availability, translation, and the start of a run."""

from __future__ import annotations

import sys
from collections import ChainMap
from functools import partial
from typing import ClassVar

from training_hub.plugin import (
    Availability,
    FrameworkBackend,
    FrameworkSources,
    LaunchPlan,
    Parameters,
    Run,
    TrainingResult,
    Translation,
    devices,
    plan_batches,
    processes,
    rendezvous,
    train_job,
    translate,
)
from training_hub_trl import keyword_values
from training_hub_trl.arguments import types
from training_hub_trl.backend import TRLBackend
from training_hub_unsloth.arguments import accepted, own_optimizer, unknown_gguf, withheld
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
        sources = FrameworkSources()
        known = accepted(sources)
        return translate(
            "unsloth",
            rules(plan, here, launch, sources),
            parameters,
            settings=settings(parameters, plan, here),
            accepts=known,
            withheld=withheld(parameters, here, known, sources),
            types=ChainMap(*types(parameters.algorithm, sources).values()),
            unread=sources.unread,
            problems=[
                *keyword_values.problems(parameters, here, sources, own_optimizer=partial(own_optimizer, here)),
                *unknown_gguf(parameters, sources),
            ],
            launch=launch,
            batches=plan,
        )

    def train(self, run: Run) -> TrainingResult:
        from training_hub_unsloth.worker import train

        return train_job(run, run.job(), here=train)


def in_this_process() -> bool:
    """Whether the caller has imported Unsloth, early enough for TRL's trainer to be Unsloth's everywhere."""
    if "unsloth" not in sys.modules:
        return False
    trainer, trl = sys.modules.get("training_hub_trl.sft_trainer"), sys.modules.get("trl")
    return trainer is None or trl is None or issubclass(trainer.HubSFTTrainer, trl.SFTTrainer)
