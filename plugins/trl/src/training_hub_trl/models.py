"""Loads the base model for an algorithm, and merges an adapter into it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel, TrainingArguments

from training_hub.errors import ModelError, ModelNotFoundError, ParameterError, nearest
from training_hub_trl.osft import decompose

T = TypeVar("T")


def construct(kind: type[T], arguments: dict[str, Any]) -> T:
    """An argument object of the framework.

    Raises:
        ParameterError: It refuses a value; the message is the framework's.
    """
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{kind.__name__} refuses the arguments: {error}") from error


def one_gpu(arguments: TrainingArguments) -> None:
    """Let one process train on one GPU, where more are visible.

    transformers 5 would spread each batch over all of them (DataParallel), which changes the effective batch and which
    TRL refuses; it has no public way to say no.
    """
    arguments._n_gpu = min(arguments.n_gpu, 1)


def load_model(job: dict[str, Any]) -> Any:
    """The base model, with the adapter or the decomposition that the algorithm trains.

    Raises:
        ModelNotFoundError: It is neither here nor on the hub.
        ParameterError: A pattern of layer names matches nothing.
    """
    arguments = dict(job["arguments"]["from_pretrained"])
    path = arguments.pop("pretrained_model_name_or_path")
    arguments["dtype"] = getattr(torch, arguments["dtype"])
    quantisation = job["arguments"].get("BitsAndBytesConfig", {})
    if quantisation.get("load_in_4bit") or quantisation.get("load_in_8bit"):
        arguments["quantization_config"] = BitsAndBytesConfig(**quantisation)
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, **arguments)
    except OSError as error:
        raise ModelNotFoundError(f"model_path={path}: {error}") from error
    check_generation_config(model, path)
    # A cache of keys and values is of no use in training, and would break the isolation of packed rows.
    model.config.use_cache = False
    match job["algorithm"]:
        case "osft":
            osft = job["arguments"]["OSF"]
            return decompose(model, osft["unfreeze_rank_ratio"], osft.get("target_patterns"))
        case "lora_sft":
            return _adapted(model, job)
        case _:
            return model


def check_generation_config(model: PreTrainedModel, path: str) -> None:
    """Some models come with settings that transformers loads and then refuses to save: at the end of the run."""
    if model.generation_config is None:
        return
    with TemporaryDirectory() as directory:
        try:
            model.generation_config.save_pretrained(directory)
        except ValueError as error:
            raise ModelError(
                f"model_path={path}: its generation_config.json cannot be saved again: {error}; mend that file"
            ) from error


def _adapted(model: PreTrainedModel, job: dict[str, Any]) -> Any:
    settings = {name: value for name, value in job["arguments"]["LoraConfig"].items() if value is not None}
    # PEFT draws the adapter's initial weights here.
    torch.manual_seed(job["values"]["seed"])
    config = construct(LoraConfig, {"task_type": "CAUSAL_LM", **settings})
    with checked_adapter(model, job):
        return get_peft_model(model, config)


@contextmanager
def checked_adapter(model: PreTrainedModel, job: dict[str, Any]) -> Iterator[None]:
    """While PEFT puts an adapter on a model: refuse what it refuses, and names that match nothing.

    PEFT itself refuses a list of names only where none of them matches, and drops the others.

    Raises:
        ParameterError: PEFT refuses the adapter, or one of `target_modules`, or a key of `rank_pattern` or
            `alpha_pattern`, matches no layer.
    """
    endings = sorted({name.rpartition(".")[2] for name, _ in model.named_modules() if name})
    values = job["values"]

    def matches_nothing(parameter: str, name: Any, names: list[str]) -> ParameterError:
        return ParameterError(
            f"{parameter}={values[parameter]!r}: no layer of {values['model_path']} that it could mean is named "
            f"{name!r}{nearest(str(name), names)}; there are {', '.join(names)}"
        )

    try:
        yield
    except (TypeError, ValueError, NotImplementedError) as error:
        if "arget modules" in str(error):
            raise matches_nothing("target_modules", values["target_modules"], endings) from error
        raise ParameterError(f"PEFT refuses the adapter: {error}") from error
    layers = [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    asked = values["target_modules"]
    for name in [] if isinstance(asked, str) else asked or []:
        if not any(f".{layer}".endswith(f".{name}") for layer in layers):
            raise matches_nothing("target_modules", name, endings)
    adapted = sorted({layer.rpartition(".")[2] for layer in layers})
    for parameter in ("rank_pattern", "alpha_pattern"):
        for pattern in values[parameter] or {}:
            # As PEFT's get_pattern_key.
            if not any(re.match(rf"(.*\.)?({pattern})$", layer) for layer in layers):
                raise matches_nothing(parameter, pattern, adapted)


def save_merged(job: dict[str, Any], adapter: Path, directory: Path) -> None:
    """Save the base model with the adapter merged in, in the base model's own precision.

    A quantised base is loaded anew in full precision: merging into rounded weights would lose more than it keeps.
    """
    trust = job["values"]["trust_remote_code"]
    adapted = AutoPeftModelForCausalLM.from_pretrained(
        adapter, dtype="auto", trust_remote_code=trust, device_map="cpu", use_safetensors=True
    )
    merged = adapted.merge_and_unload(safe_merge=True)
    merged.save_pretrained(directory)
    AutoTokenizer.from_pretrained(adapter, trust_remote_code=trust).save_pretrained(directory)
