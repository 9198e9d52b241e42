"""Which of mini-trainer's own arguments may be given as further keywords, and with which values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge

from training_hub.plugin import FrameworkSources, Parameters
from training_hub_minitrainer.rules import decomposes

_Computed = Literal["float16", "bfloat16", "float32", "float64"]
_Saved = Literal["float16", "half", "bfloat16", "float32", "float", "float64", "double"]
_Positive = Annotated[int, Ge(1)]

TYPES: Mapping[str, Any] = {
    "training_mode": Literal["epoch", "step", "token", "infinite"],
    "max_steps": _Positive,
    "max_tokens": _Positive,
    "train_dtype": _Computed,
    "osft_upcast_dtype": _Computed,
    "save_dtype": _Saved,
    "min_samples_per_checkpoint": int,
    "min_samples_per_validation": _Positive,
    "validate_at_epoch": bool,
    "validate_at_final": bool,
}
"""What mini-trainer takes for each further keyword, as it would itself say only in the processes of the run."""
WITHHELD: Mapping[str, str] = {
    "osft": "osft() decomposes weights, and sft() trains them whole",
    "pretraining_config": "give is_pretraining, block_size and document_column_name instead",
    "on_demand_checkpointing": "SIGTERM and SIGINT save a state to resume from in any case; leave it out",
    "attn_implementation": "mini-trainer chooses: FlashAttention 2, or what a model needs instead; the sft and osft of "
    "the trl backend take it",
    "router_aux_loss_coef": "mini-trainer adds a router's loss by micro-batch, and so that it would depend on their "
    "number; it is off, and the trl backend has one that does not",
    "resume_from_full_state_checkpoint": "give resume instead",
}
"""Arguments that are not to be given as further keywords, and why or what instead."""
OSFT_ONLY = frozenset({"osft_unfreeze_rank_ratio", "osft_target_patterns", "osft_upcast_dtype"})
ENDLESS = frozenset({"constant", "constant_with_warmup", "inverse_sqrt"})
"""Schedules that can be made where nobody knows how many steps there will be; so can one with `num_stable_steps`."""


def accepted(sources: FrameworkSources) -> dict[str, frozenset[str]]:
    """Further keywords by the class that takes them: the fields of mini-trainer's own argument class."""
    return {"TrainingArgs": sources.fields_of("mini_trainer", "training_types.py", ("TrainingArgs",))}


def withheld(parameters: Parameters) -> dict[str, str]:
    """Arguments that are not to be given as further keywords here, and why."""
    if parameters.algorithm != "osft":
        return {**WITHHELD, **dict.fromkeys(OSFT_ONLY, "sft() trains whole weights; call osft() to decompose them")}
    if decomposes(parameters):
        return dict(WITHHELD)
    return {**WITHHELD, "osft_upcast_dtype": "with unfreeze_rank_ratio=1 no weight is decomposed; leave it out"}


def problems(parameters: Parameters) -> Iterator[str]:
    """What is wrong with further keywords that mini-trainer knows: values, and what it would pass over in silence."""
    given = parameters.backend_kwargs
    yield from _about_the_end(parameters)
    if not parameters["validation_split"]:
        for name in ("validate_at_epoch", "validate_at_final", "min_samples_per_validation"):
            if given.get(name):
                yield f"{name} without a validation set: say which rows to validate on with validation_split"


def _about_the_end(parameters: Parameters) -> Iterator[str]:
    given, schedule = parameters.backend_kwargs, parameters["lr_scheduler"]
    mode = given.get("training_mode", "epoch")
    for name, needed in (("max_steps", "step"), ("max_tokens", "token")):
        if name in given and mode != needed:
            yield f"{name} without training_mode={needed!r}: mini-trainer would not look at it"
        elif mode == needed and name not in given:
            yield f"training_mode={mode!r} without {name}: say where training ends"
    if mode != "epoch" and parameters.given("num_epochs"):
        yield f"num_epochs and training_mode={mode!r} contradict each other: leave one of them out"
    bounded = schedule not in ENDLESS and "num_stable_steps" not in (parameters["lr_scheduler_kwargs"] or {})
    if mode == "infinite" and bounded:
        yield (
            f"training_mode='infinite' with lr_scheduler={schedule!r}: that schedule goes by the number of steps; give "
            f"one of {', '.join(sorted(ENDLESS))}"
        )
