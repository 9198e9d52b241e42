"""Backends that keep every promise: one with a single process, and one that has two as well."""

import json
from pathlib import Path
from typing import Annotated, Required

from annotated_types import Gt

from training_hub import Algorithm
from training_hub.backends.base import Availability, Backend, FrameworkBackend
from training_hub.backends.translation import by_hub, exact, refused, translate
from training_hub.launchers.local import launch
from training_hub.launchers.plan import LaunchPlan
from training_hub.parameters import REQUIRED, Param
from training_hub.parameters.groups import Callbacks, Continuity, Essentials, Pretraining, Schedule, Torchrun
from training_hub.store.directory import write_json
from training_hub.store.result import TrainingResult

DONE = {
    "model_path": exact("Loop.model_path"),
    "data_path": by_hub("turned into tokens and labels"),
    "ckpt_output_dir": exact("Loop.directory"),
    "backend": by_hub("this one"),
    "overwrite_output_dir": by_hub("checked before the run"),
    "seed": exact("Loop.seed"),
    "num_epochs": exact("Loop.epochs"),
    "effective_batch_size": exact("Loop.batch"),
    "max_seq_len": by_hub("longer rows are left out"),
    "max_tokens_per_gpu": exact("Loop.micro_batch", lambda p: max(1, p["max_tokens_per_gpu"] // p["max_seq_len"])),
    "learning_rate": exact("AdamW.lr"),
    "lr_scheduler": exact(
        "Loop.scheduler", refuse=lambda p: None if p["lr_scheduler"] in ("constant", "cosine") else "no"
    ),
    "checkpoint_at_epoch": by_hub("at the end of each epoch"),
    "callbacks": by_hub("from the events"),
    "callback_errors": by_hub("from the events"),
    "resume": by_hub("weights and optimizer go on"),
    "resume_changes": by_hub("compared before"),
    "grace_seconds": by_hub("the processes are ended after it"),
}


class Honest(FrameworkBackend):
    """Trains in the caller's process."""

    algorithms = ("sft",)
    framework = "torch"
    controls = frozenset({"stop", "save"})
    callbacks_on_ranks = True
    loop = "contract_example.loop:Loop"
    done = DONE
    accepts = {"AdamW": frozenset({"amsgrad"})}
    settings = {"AdamW.foreach": (False, "few weights")}

    def availability(self):
        return Availability(True, "anywhere")

    def translate(self, parameters):
        rules = {name: self.done.get(name, refused("the example has no such thing")) for name in parameters.declared}
        return translate(
            self.name, rules, parameters, settings=self.settings, accepts=self.accepts, launch=self.plan(parameters)
        )

    def plan(self, parameters):
        return None

    def train(self, run):
        return self.result(run, self.outcome(run))

    def outcome(self, run):
        from contract_example.loop import loop_of

        return loop_of(self.job(run)).run()

    def job(self, run):
        return run.job() | {"loop": self.loop}

    def result(self, run, outcome):
        return TrainingResult(Path(outcome["checkpoint"]), outcome["metrics"], self.name, run.directory.path)


class HonestTwo(Honest):
    """Trains with two processes where they are asked for."""

    done = {
        **DONE,
        "nproc_per_node": by_hub("torchrun", refuse=lambda p: None if p["nproc_per_node"] in (1, 2) else "1 or 2"),
    }

    def plan(self, parameters):
        two = parameters["nproc_per_node"] == 2
        return LaunchPlan("contract_example.loop", 2, environment={"OMP_NUM_THREADS": "1"}) if two else None

    def outcome(self, run):
        if run.translation.launch is None:
            return super().outcome(run)
        path = run.directory.logs / "job.json"
        write_json(path, self.job(run))
        launch(run.translation.launch, [str(path)], run.directory.logs, run.watchdog.check)
        return json.loads((run.directory.logs / "outcome.json").read_text())


class Plain(Backend):
    """The simplest backend."""

    algorithms = ("sft",)

    def execute_training(self, algorithm_params):
        return algorithm_params


class Absent(Honest):
    """Keeps every promise on another machine."""

    def availability(self):
        return Availability(False, "it needs a quantum computer")


class RankingParameters(Essentials, Schedule, Torchrun, Pretraining, Callbacks, Continuity, total=False):
    """Ranking."""

    margin: Required[Annotated[float, Gt(0), Param(REQUIRED, "Least difference of two answers' scores.")]]


class Ranking(Algorithm):
    """Learns which of two answers is better."""

    name = "contract_ranking"
    parameters = RankingParameters


class OfItsOwn(Honest):
    """Brings an algorithm of its own, which the kit cannot train."""

    algorithms = ("contract_ranking",)
    done = {**DONE, "margin": exact("Loop.margin")}
