"""Loads the model of a job."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, TrainingArguments

from training_hub.plugin import (
    Job,
    ModelError,
    ModelNotFoundError,
    ParameterError,
    require_protection,
    router_losses_off,
    target_weights,
)
from training_hub_trl.adapters import adapted
from training_hub_trl.osft import decompose


def one_gpu(arguments: TrainingArguments) -> None:
    """Let one process train on one GPU, where more are visible.

    transformers 5 would spread each batch over all of them (DataParallel), which changes the effective batch and which
    TRL refuses; it has no public way to say no.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)


def load_model(job: Job) -> Any:
    """The base model, with the adapter or the decomposition that the algorithm trains.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ParameterError: A pattern of layer names matches nothing, or OSFT would protect too little.
    """
    model = load_base(job)
    # A cache of keys and values is of no use in training, and would break the isolation of packed rows.
    model.config.use_cache = False
    if osft := job.arguments.get("OSF"):
        patterns = osft.get("target_patterns")
        require_protection(job, model, target_weights(model, patterns))
        return decompose(model, osft["unfreeze_rank_ratio"], patterns)
    return adapted(model, job) if "LoraConfig" in job.arguments else model


def load_base(job: Job, other: str | None = None) -> PreTrainedModel:
    """The base model of a job as it is saved, or another one in the form in which the base is held.

    Args:
        job: The job.
        other: The other one's directory or id, as `reference_model` says it.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ModelError: It is no causal language model.
        ParameterError: It has not the attention that is asked for.
    """
    arguments = dict(job.arguments["from_pretrained"])
    arguments["dtype"] = getattr(torch, arguments["dtype"])
    if other is not None:
        # A revision is one of the base.
        arguments = {**arguments, "pretrained_model_name_or_path": other, "revision": "main"}
    quantisation = job.arguments.get("BitsAndBytesConfig", {})
    if quantisation.get("load_in_4bit") or quantisation.get("load_in_8bit"):
        arguments["quantization_config"] = BitsAndBytesConfig(**quantisation)
    try:
        found: PreTrainedModel = AutoModelForCausalLM.from_pretrained(**arguments)
    except OSError as error:
        said = f"model_path={job.parameters['model_path']}" if other is None else f"reference_model={other}"
        raise ModelNotFoundError(f"{said}: {error}") from error
    except (ImportError, ValueError) as error:
        if "Unrecognized configuration class" in str(error):
            raise ModelError(
                f"model_path={arguments['pretrained_model_name_or_path']}: transformers has no causal language model "
                f"of this type: {str(error).splitlines()[0].partition(' for this')[0]}"
            ) from error
        if (asked := arguments.get("attn_implementation")) is None:
            raise
        name = "attn_implementation" if job.parameters.get("flash_attention") is None else "flash_attention"
        raise ParameterError(
            f"{name}: this model cannot be loaded with {asked}: {error}; leave it out, and transformers chooses"
        ) from error
    router_losses_off(found)
    return found
