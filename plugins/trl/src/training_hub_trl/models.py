"""Loads the model of a job."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel, TrainingArguments

from training_hub.plugin import Job, ModelNotFoundError
from training_hub_trl.adapters import adapted
from training_hub_trl.osft import decompose


def one_gpu(arguments: TrainingArguments) -> None:
    """Let one process train on one GPU, where more are visible.

    transformers 5 would spread each batch over all of them (DataParallel), which changes the effective batch and which
    TRL refuses; it has no public way to say no.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)


def revision(job: Job) -> str:
    """Which version of the model is asked for, by the further keyword."""
    return job.arguments.get("from_pretrained", {}).get("revision") or "main"


def load_model(job: Job) -> Any:
    """The base model, with the adapter or the decomposition that the algorithm trains.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ParameterError: A pattern of layer names matches nothing.
    """
    model = load_base(job)
    # A cache of keys and values is of no use in training, and would break the isolation of packed rows.
    model.config.use_cache = False
    if osft := job.arguments.get("OSF"):
        return decompose(model, osft["unfreeze_rank_ratio"], osft.get("target_patterns"))
    return adapted(model, job) if "LoraConfig" in job.arguments else model


def load_base(job: Job, other: str | None = None) -> PreTrainedModel:
    """The base model of a job as it is saved, or another one in the form in which the base is held.

    Args:
        job: The job.
        other: The other one's directory or id, as `reference_model` says it.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
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
    return found
