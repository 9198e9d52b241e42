"""The backend: availability, translation, and the start of a run."""

from __future__ import annotations

from collections import ChainMap
from typing import ClassVar

from training_hub.plugin import (
    Devices,
    FrameworkSources,
    LaunchPlan,
    Parameters,
    Run,
    TorchrunBackend,
    TrainingResult,
    Translation,
    devices,
    plan_batches,
    processes,
    train_job,
    translate,
)
from training_hub_trl import keyword_values
from training_hub_trl.arguments import types, withheld
from training_hub_trl.dpo import rules as dpo
from training_hub_trl.rules import rules, whole
from training_hub_trl.settings import settings


class TRLBackend(TorchrunBackend):
    """Trains with TRL's SFTTrainer and DPOTrainer: all weights, adapters (PEFT) and OSFT.

    One process trains in the caller's own; several are started by torchrun.
    """

    algorithms: ClassVar[tuple[str, ...]] = ("sft", "osft", "lora_sft", "dpo")
    framework: ClassVar[str | None] = "trl"
    package: ClassVar[str] = "training-hub-trl"
    worker: ClassVar[str] = "training_hub_trl.worker"

    def device_problem(self, here: Devices) -> str | None:
        return None

    def translate(self, parameters: Parameters) -> Translation:
        here = devices()
        local = processes(parameters, here)
        several = local * parameters["nnodes"] > 1
        return self.translated(parameters, here, self.plan(parameters, local) if several else None)

    def translated(self, parameters: Parameters, here: Devices, plan: LaunchPlan | None) -> Translation:
        sources = FrameworkSources()
        known = types(parameters.algorithm, sources)
        pairs = parameters.algorithm == "dpo"
        batches = plan_batches(parameters, plan.world_size if plan else 1, sequences=2 if pairs else 1)
        if not pairs:
            batches = whole(batches, parameters)
        return translate(
            "trl",
            rules(parameters.algorithm, batches, here, plan, sources),
            parameters,
            settings=settings(parameters, batches, here),
            accepts=known,
            withheld={**withheld(here), **(dpo.WITHHELD if pairs else {})},
            types=ChainMap(*known.values()),
            unread=sources.unread,
            problems=[
                *keyword_values.problems(parameters, here, sources),
                *(dpo.problems(parameters, here, set(known["LoraConfig"]) - set(known["DPOConfig"])) if pairs else ()),
            ],
            batches=batches,
            launch=plan,
        )

    def train(self, run: Run) -> TrainingResult:
        from training_hub_trl.worker import train

        return train_job(run, run.job(), here=train)
