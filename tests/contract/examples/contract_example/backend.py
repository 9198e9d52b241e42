"""Backends that keep every promise: one with a single process, and one that has two as well."""

import random
from typing import Annotated, Required

from annotated_types import Gt
from typing_extensions import TypedDict

from training_hub.plugin import (
    REQUIRED,
    Algorithm,
    Availability,
    Backend,
    Callbacks,
    Checkpoints,
    Continuity,
    Essentials,
    Figure,
    FrameworkBackend,
    LaunchPlan,
    Param,
    Pretraining,
    RowError,
    RowFormat,
    Schedule,
    Torchrun,
    by_hub,
    exact,
    refused,
    train_job,
    translate,
)

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

    def __init__(self):
        # By its name the processes find the loop.
        self.settings = {**self.settings, "Loop.name": (self.loop, "which loop trains")}

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
        from contract_example.loop import train

        return train_job(run, run.job(), here=train)


class HonestTwo(Honest):
    """Trains with two processes where they are asked for."""

    done = {
        **DONE,
        "nproc_per_node": by_hub("torchrun", refuse=lambda p: None if p["nproc_per_node"] in (1, 2) else "1 or 2"),
    }

    def plan(self, parameters):
        two = parameters["nproc_per_node"] == 2
        return LaunchPlan("contract_example.loop", 2, environment={"OMP_NUM_THREADS": "1"}) if two else None


class Plain(Backend):
    """The simplest backend."""

    algorithms = ("sft",)

    def execute_training(self, algorithm_params):
        return algorithm_params


class Absent(Honest):
    """Keeps every promise on another machine."""

    def availability(self):
        return Availability(False, "it needs a quantum computer")


class Unacknowledged(Absent):
    """The same, and nobody says that this is right."""


class Words(RowFormat):
    """A text under the key `words`."""

    name = "contract_words"
    expected = "'words'"

    def recognises(self, row, options):
        return "words" in row

    def convert(self, row, options):
        if not isinstance(row["words"], str) or not row["words"]:
            raise RowError("'words' is no text; expected one")
        return row["words"]

    def encode(self, examples, encoder):
        from contract_example.loop import Tokens

        return [Tokens(tuple(encoder.tokenizer(words, add_special_tokens=False)["input_ids"])) for _, words in examples]


class RepeatingParameters(Essentials, Schedule, Torchrun, Checkpoints, Pretraining, Callbacks, Continuity, total=False):
    """Repeating."""

    margin: Required[Annotated[float, Gt(0), Param(REQUIRED, "A number that is looked at.")]]


class Repeating(Algorithm):
    """Learns to repeat words, without any conversation."""

    name = "contract_repeating"
    parameters = RepeatingParameters
    row_formats = ("contract_words",)


class PromisingParameters(Essentials, Schedule, Checkpoints, Callbacks, Continuity, total=False):
    """Promising: one process is all that it trains with."""


class Promising(Algorithm):
    """Learns the same, and declares a figure."""

    name = "contract_promising"
    parameters = PromisingParameters
    row_formats = ("contract_words",)
    figures = (Figure("surprise", "nats a word"),)


class SweepParameters(TypedDict, total=False):
    """Sweeping."""

    sweep: Annotated[int, Gt(0), Param(3, "A number that is looked at.")]


class OfItsOwn(Honest):
    """Brings an algorithm of its own, with rows of its own, and a parameter of the backend's own."""

    algorithms = ("contract_repeating",)
    parameters = SweepParameters
    done = {**DONE, "margin": exact("Loop.margin"), "sweep": exact("Loop.sweep")}
    loop = "contract_example.loop:WordLoop"


def words(count):
    """Rows of `contract_words`."""
    rng = random.Random(0)
    return [
        {"words": " ".join("".join(rng.choices("abcd", k=4)) for _ in range(rng.randint(2, 6)))} for _ in range(count)
    ]
