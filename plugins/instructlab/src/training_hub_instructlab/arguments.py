"""Which of the framework's own arguments may be given as further keywords, and with which values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Literal

from training_hub.plugin import FrameworkSources, Parameters, misfit, nearest
from training_hub_instructlab.rules import MAIN

CONFIG = "training/config.py"
_TEMPLATE = (
    "conversations are written with the chat template in the model's directory; put yours there: chat_template.jinja"
)
_IDLE = "the framework has the option and no longer acts on it"

WITHHELD: Mapping[str, str] = {
    "process_data": "the hub makes the tokens and labels, the same as for every backend",
    "data_process_num_cpu_procs": "the hub makes the tokens and labels",
    **dict.fromkeys(("chat_tmpl_path", "use_legacy_tmpl"), _TEMPLATE),
    **dict.fromkeys(("mock_data", "mock_data_len", "is_padding_free", "use_dolomite"), _IDLE),
    "adamw_betas": "give beta1 and beta2 instead",
    "pretraining_config": "give is_pretraining, block_size and document_column_name instead",
    "on_demand_checkpointing": "every run saves its full state and ends when SIGTERM, SIGINT or a callback asks for it",
    "lora": "sft trains all weights; adapters are trained by lora_sft",
    "attn_implementation": "the framework takes FlashAttention 2, or with disable_flash_attn=True what transformers "
    "does by default; the trl backend takes it",
    "router_aux_loss_coef": "the framework adds a router's loss by micro-batch, so that it would depend on their "
    "number; it is off, and the trl backend has one that does not",
    # Of other trainers, and near to none of our names.
    "resume_from_checkpoint": "give resume instead",
}
"""Arguments that are not to be given as further keywords, and why or what instead."""


def accepted(sources: FrameworkSources) -> dict[str, frozenset[str]]:
    """Further keywords by the class that takes them."""
    fields = sources.fields_of("instructlab", CONFIG, ("TrainingArgs",))
    return {"TrainingArgs": fields - {"model_config"}, MAIN: frozenset({"NEFTune_alpha"})}


def types(sources: FrameworkSources) -> dict[str, Any]:
    """What the framework takes for each further keyword, as it would itself say only in the processes of the run."""
    return {
        **sources.types_of("instructlab", CONFIG, ("TrainingArgs",)),
        "distributed_backend": Literal["fsdp", "deepspeed"],
        "deepspeed_options": dict[str, Any],
        "NEFTune_alpha": float,
    }


def problems(parameters: Parameters, sources: FrameworkSources) -> Iterator[str]:
    """What is wrong with further keywords that the framework knows."""
    given = parameters.backend_kwargs
    deepspeed = given.get("distributed_backend") == "deepspeed"
    if deepspeed and find_spec("deepspeed") is None:
        yield (
            "distributed_backend='deepspeed': deepspeed is not installed: "
            'pip install "training-hub-instructlab[deepspeed]"'
        )
    if given.get("disable_flash_attn") is False and find_spec("flash_attn") is None:
        yield (
            "disable_flash_attn=False: flash-attn is not installed; leave it out, or "
            'pip install "training-hub-instructlab[cuda]"'
        )
    if "deepspeed_options" in given:
        if not deepspeed:
            yield "deepspeed_options without distributed_backend='deepspeed': nothing would come of it; give both"
        yield from _deepspeed_problems(given["deepspeed_options"], sources)
    if deepspeed and parameters["fsdp_options"]:
        yield "fsdp_options with distributed_backend='deepspeed': give deepspeed_options, or leave DeepSpeed out"


def _deepspeed_problems(given: Any, sources: FrameworkSources) -> Iterator[str]:
    known = sources.types_of("instructlab", CONFIG, ("DeepSpeedOptions",))
    for key, value in given.items() if known and isinstance(given, Mapping) else ():
        if key not in known:
            yield f"deepspeed_options: {key!r} is none of {', '.join(sorted(known))}{nearest(str(key), known)}"
        elif problem := misfit(value, known[key]):
            yield f"deepspeed_options: {key}: {problem}"
